//! Parsing of the multipart form that the edge sends for an upload. It reads the form from
//! memory, and only the form that the edge writes.

use bytes::Bytes;

/// A message and its attachment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) message: String,
    pub(super) file: Option<Upload>,
}

/// The file of an upload, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

impl Form {
    /// Parses a multipart body (RFC 7578); `None` if it is not one as the edge writes it.
    pub(super) fn read(content_type: &str, body: &Bytes) -> Option<Self> {
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=")?;
        let end = format!("\r\n--{boundary}--\r\n");
        let start = format!("--{boundary}\r\n");
        let parts = body
            .strip_suffix(end.as_bytes())?
            .strip_prefix(start.as_bytes())?;
        let mut rest = body.slice_ref(parts);
        let separator = format!("\r\n--{boundary}\r\n");
        let mut form = Self::default();
        loop {
            let next = find(&rest, separator.as_bytes());
            form.take(&rest.slice(..next.unwrap_or(rest.len())))?;
            match next {
                Some(at) => rest = rest.slice(at + separator.len()..),
                None => return Some(form),
            }
        }
    }

    /// Adds one part: a file if it has a file name, else the message.
    fn take(&mut self, part: &Bytes) -> Option<()> {
        let head_end = find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&part[..head_end]).ok()?;
        let data = part.slice(head_end + 4..);
        let line = head.lines().next()?;
        match line.split_once("; filename=\"") {
            Some((_, quoted)) => {
                let name = quoted.strip_suffix('"')?.replace("\\\"", "\"");
                self.file = Some(Upload { name, bytes: data });
            }
            None => self.message = String::from_utf8(data.to_vec()).ok()?,
        }
        Some(())
    }
}

impl Upload {
    /// Returns the media type by the first bytes; `None` if the desk does not accept it.
    pub(super) fn kind(&self) -> Option<&'static str> {
        let begins = |magic: &[u8]| self.bytes.starts_with(magic);
        if begins(b"\x89PNG\r\n\x1a\n") {
            Some("image/png")
        } else if begins(b"\xff\xd8\xff") {
            Some("image/jpeg")
        } else if begins(b"GIF87a") || begins(b"GIF89a") {
            Some("image/gif")
        } else if begins(b"%PDF-") {
            Some("application/pdf")
        } else {
            let text = std::str::from_utf8(&self.bytes).ok()?;
            (!text.is_empty() && !text.contains('\0')).then_some("text/plain")
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipart_form_from_the_edge_is_parsed() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nhello\r\n\
            --b\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"a \\\"b\\\".gif\"\r\n\
            Content-Type: image/gif\r\n\r\nGIF89a\r\n\r\n--b--\r\n";
        let body = Bytes::from_static(body.as_bytes());
        let form = Form::read("multipart/form-data; boundary=b", &body).unwrap();
        assert_eq!(form.message, "hello");
        let file = form.file.unwrap();
        assert_eq!(
            (&*file.name, &*file.bytes),
            ("a \"b\".gif", &b"GIF89a\r\n"[..])
        );
        assert_eq!(file.kind(), Some("image/gif"));
        assert_eq!(Form::read("multipart/form-data; boundary=c", &body), None);
    }
}
