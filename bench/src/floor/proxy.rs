//! The simplest proxy with hyper, over HTTP/1.1 and HTTP/2: its server, its client with
//! kept connections, and nothing between them.

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap, TE, TRANSFER_ENCODING, UPGRADE};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, Version};
use hyper_util::client::legacy::{Client, Error, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{ProxyPlan, Stream};

type Upstream = Client<HttpConnector, Incoming>;

pub(crate) async fn serve(plan: ProxyPlan) -> anyhow::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let upstream = plan.upstream.to_string();
    let live = move |stream| converse(stream, client.clone(), upstream.clone());
    plan.door.serve(&[b"h2", b"http/1.1"], live).await
}

async fn converse(stream: Stream, client: Upstream, upstream: String) {
    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| forward(request, client.clone(), upstream.clone()));
    let io = TokioIo::new(stream);
    // A peer that disconnects early needs no report: the generator counts failures.
    let _ = if two {
        let builder = http2::Builder::new(TokioExecutor::new());
        builder.serve_connection(io, service).await
    } else {
        http1::Builder::new().serve_connection(io, service).await
    };
}

async fn forward(
    mut request: Request<Incoming>,
    client: Upstream,
    upstream: String,
) -> Result<Response<Incoming>, Error> {
    let path = request.uri().path_and_query().cloned();
    let uri = Uri::builder().scheme("http").authority(upstream);
    let uri = uri.path_and_query(path.map_or("/".into(), |path| path.to_string()));
    *request.uri_mut() = uri.build().unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
    end_to_end(request.headers_mut());
    let mut answer = client.request(request).await?;
    end_to_end(answer.headers_mut());
    Ok(answer)
}

/// Removes the hop-by-hop headers (RFC 9110 §7.6.1).
fn end_to_end(headers: &mut HeaderMap) {
    for name in [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}
