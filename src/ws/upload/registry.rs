//! All uploads of the process, so that one can be taken up again by another
//! session of the same token, and none by anybody else.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use super::multipart::Part;
use super::outcome::Reason;
use super::settings::Settings;
use super::state::Upload;
use super::task;
pub(in crate::ws) use super::task::UploadContext as Begin;
use crate::auth::{Token, TokenForm, TokenHash, User};
use crate::core::ids::{RoomName, UserId};
use crate::limit::ByteRate;
use crate::upstream::Upstream;

/// The uploads. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct Uploads(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) upstream: Upstream,
    pub(super) settings: Settings,
    pub(super) token_form: TokenForm,
    pub(super) rate: Arc<ByteRate>,
    /// One list for all configurations: an upload goes on where it began, and is found
    /// and counted after a reload.
    all: Arc<Mutex<HashMap<Key, Arc<Upload>>>>,
}

/// An id means something only together with the user and the token that it came
/// with: what others upload cannot be seen, guessed or taken.
type Key = (UserId, TokenHash, Box<str>);

/// Why an upload does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ws) enum UploadRejection {
    /// This token has one of that id.
    Duplicate,
    /// Anything else.
    Failed(Reason),
}

impl Uploads {
    /// Uploads that will go to `upstream`, together with those of `old`.
    pub fn new(
        upstream: Upstream,
        settings: Settings,
        token_form: TokenForm,
        old: Option<&Self>,
    ) -> Self {
        let rate = settings.bytes_per_second;
        let same_rate = old.filter(|old| old.0.settings.bytes_per_second == rate);
        Self(Arc::new(Shared {
            rate: same_rate.map_or_else(
                || Arc::new(ByteRate::new(rate)),
                |old| Arc::clone(&old.0.rate),
            ),
            all: old.map_or_else(Arc::default, |old| Arc::clone(&old.0.all)),
            upstream,
            settings,
            token_form,
        }))
    }

    pub(in crate::ws) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Begins an upload and its request to Laravel; it is nobody's until it is
    /// attached.
    ///
    /// # Errors
    /// The id is in use, or there are too many.
    pub(in crate::ws) fn begin(
        &self,
        id: &str,
        room: RoomName,
        part: Part,
        context: Begin,
    ) -> Result<Arc<Upload>, UploadRejection> {
        let settings = &self.0.settings;
        let key = key(&context.user, &context.token, id);
        let mut all = self.0.all.lock();
        let total = all.len();
        let of_user = all.keys().filter(|known| known.0 == key.0).count();
        let Entry::Vacant(place) = all.entry(key.clone()) else {
            return Err(UploadRejection::Duplicate);
        };
        if total >= settings.at_once.size() || of_user >= settings.per_user.size() {
            return Err(UploadRejection::Failed(Reason::TooManyUploads));
        }
        let (upload, chunks) = Upload::new(id.into(), room, part.size, settings);
        let upload = Arc::new(upload);
        place.insert(Arc::clone(&upload));
        drop(all);
        let (this, driven, drain) = (self.clone(), Arc::clone(&upload), context.drain.clone());
        drain.spawn(async move {
            let _leave = RegistryGuard(this.clone(), key, Arc::clone(&driven));
            task::run(this.0, driven, part, chunks, context).await;
        });
        Ok(upload)
    }

    /// The upload of this id that this user began with this token.
    pub(in crate::ws) fn find(&self, user: &User, token: &Token, id: &str) -> Option<Arc<Upload>> {
        let all = self.0.all.lock();
        let upload = all.get(&key(user, token, id));
        upload.filter(|upload| !upload.told.is_cancelled()).cloned()
    }

    /// The client knows how the upload ended: its id is free again.
    pub(in crate::ws) fn forget(&self, user: &User, token: &Token, upload: &Arc<Upload>) {
        upload.forget();
        self.0.remove(&key(user, token, &upload.id), upload);
    }
}

fn key(user: &User, token: &Token, id: &str) -> Key {
    (user.id().clone(), token.hash(), id.into())
}

impl Shared {
    fn remove(&self, key: &Key, upload: &Arc<Upload>) {
        let mut all = self.all.lock();
        if all.get(key).is_some_and(|known| Arc::ptr_eq(known, upload)) {
            all.remove(key);
        }
    }
}

/// Takes an upload off the list when its task ends, however that is.
struct RegistryGuard(Uploads, Key, Arc<Upload>);

impl Drop for RegistryGuard {
    fn drop(&mut self) {
        self.0.0.remove(&self.1, &self.2);
    }
}
