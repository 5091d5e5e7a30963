//! The registry of all uploads of the process. It limits them, and lets another session of the
//! same user resume one, with the same token or by a session cookie again, and no others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::outcome::Reason;
use super::settings::Settings;
use super::state::Upload;
use crate::auth::{Credential, CredentialHash, TokenForm, User};
use crate::core::ids::{RowId, UserId};
use crate::limit::ByteRate;
use crate::upstream::Upstream;

/// The uploads, with the settings of one configuration. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Uploads(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) upstream: Upstream,
    pub(super) settings: Settings,
    pub(super) token_form: TokenForm,
    pub(super) rate: Arc<ByteRate>,
    /// One list for all configurations: after a reload an upload continues with the settings
    /// that it began with, and is still found and counted.
    all: Arc<Mutex<HashMap<Key, Arc<Upload>>>>,
}

/// The user, the credential's key and the client's id. An id alone finds nothing, so no client can see,
/// guess or take over another's upload.
type Key = (UserId, CredentialHash, Box<str>);

/// The reason why an upload does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ws) enum UploadRejection {
    /// The user has an upload of this id with this credential.
    Duplicate,
    /// The upload fails at once, for this reason.
    Failed(Reason),
}

impl Uploads {
    /// Creates the registry for a configuration whose uploads go to `upstream`. It takes over
    /// the uploads of `old`, and its byte rate if that is unchanged.
    pub(crate) fn new(
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

    /// Returns the settings of uploads.
    pub(in crate::ws) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Creates an upload of `size` bytes and registers it until the entry is dropped. Returns
    /// it with the receiver of its chunks.
    ///
    /// # Errors
    /// `Duplicate` if the id is in use; `Failed` with [`Reason::TooManyUploads`] above a limit.
    pub(super) fn register(
        &self,
        (user, credential, id): (&User, &Credential, &str),
        ticket: RowId,
        size: u64,
    ) -> Result<(RegistryEntry, mpsc::Receiver<Bytes>), UploadRejection> {
        let settings = &self.0.settings;
        let key = key(user, credential, id);
        let mut all = self.0.all.lock();
        let total = all.len();
        let of_user = all.keys().filter(|other| other.0 == key.0).count();
        let Entry::Vacant(vacant) = all.entry(key.clone()) else {
            return Err(UploadRejection::Duplicate);
        };
        if total >= settings.max_concurrent.size() || of_user >= settings.max_per_user.size() {
            return Err(UploadRejection::Failed(Reason::TooManyUploads));
        }
        let (upload, chunks) = Upload::new(id.into(), ticket, size, settings);
        let upload = Arc::new(upload);
        vacant.insert(Arc::clone(&upload));
        let entry = RegistryEntry {
            shared: Arc::clone(&self.0),
            key,
            upload,
        };
        Ok((entry, chunks))
    }

    /// Returns the upload of this id that the user began with this credential, unless its outcome
    /// was delivered.
    pub(in crate::ws) fn find(
        &self,
        user: &User,
        credential: &Credential,
        id: &str,
    ) -> Option<Arc<Upload>> {
        let all = self.0.all.lock();
        all.get(&key(user, credential, id))
            .filter(|upload| !upload.outcome_delivered.is_cancelled())
            .cloned()
    }

    /// Removes an upload whose outcome the client has got: its id is free again.
    pub(in crate::ws) fn forget(&self, user: &User, credential: &Credential, upload: &Arc<Upload>) {
        upload.set_outcome_delivered();
        self.0.remove(&key(user, credential, &upload.id), upload);
    }
}

/// Returns the key of an upload.
fn key(user: &User, credential: &Credential, id: &str) -> Key {
    (user.id().clone(), credential.resume_key(), id.into())
}

impl Shared {
    /// Removes `upload`, but not another that has the same key by now.
    fn remove(&self, key: &Key, upload: &Arc<Upload>) {
        let mut all = self.all.lock();
        if all
            .get(key)
            .is_some_and(|current| Arc::ptr_eq(current, upload))
        {
            all.remove(key);
        }
    }
}

/// An upload's entry in the registry. Dropping it removes the upload.
#[derive(Debug)]
pub(super) struct RegistryEntry {
    shared: Arc<Shared>,
    key: Key,
    pub(super) upload: Arc<Upload>,
}

impl Drop for RegistryEntry {
    fn drop(&mut self) {
        self.shared.remove(&self.key, &self.upload);
    }
}
