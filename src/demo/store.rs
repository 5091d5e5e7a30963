//! The stand-in's data in memory: users, their tokens, and support tickets.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::form::{Form, Upload};

/// A user account. Its password is `demo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) username: &'static str,
    pub(super) role: &'static str,
    pub(super) name: &'static str,
}

/// The real app's test users.
const ACCOUNTS: [Account; 3] = [
    account(3, "ana", "PWDMember", "Ana Alpha"),
    account(4, "ben", "PWDMember", "Ben Beta"),
    account(5, "desk", "FrontDesk", "Desk"),
];

const fn account(
    id: u64,
    username: &'static str,
    role: &'static str,
    name: &'static str,
) -> Account {
    Account {
        id,
        username,
        role,
        name,
    }
}

impl Account {
    fn is_staff(&self) -> bool {
        self.role != "PWDMember"
    }

    /// Returns the JSON of `/api/user`, as the real app sends it.
    pub(super) fn json(&self) -> Value {
        json!({
            "userID": self.id,
            "username": self.username,
            "email": format!("{}@example.test", self.username),
            "role": self.role,
            "status": "active",
            "password_change_required": false,
        })
    }
}

/// All data of the stand-in.
#[derive(Debug)]
pub(super) struct Desk {
    tokens: HashMap<String, Account>,
    next_token: u64,
    tickets: Vec<Ticket>,
    next_message: u64,
    /// The last attachments by message id, the oldest first.
    files: VecDeque<(u64, Upload)>,
}

#[derive(Debug)]
struct Ticket {
    id: u64,
    owner: u64,
    subject: &'static str,
    status: String,
    messages: Vec<Value>,
}

/// The reason why the stand-in rejects a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DemoError {
    BadCredentials,
    Unauthenticated,
    NotJson,
    Forbidden,
    NotFound,
    EmptyMessage,
    WrongStatus,
    WrongType,
}

impl Desk {
    /// Creates a desk with a ticket of Ana's and one of Ben's.
    pub(super) fn new() -> Self {
        let ticket = |id, owner, subject| Ticket {
            id,
            owner,
            subject,
            status: "open".to_owned(),
            messages: Vec::new(),
        };
        let mut desk = Self {
            tokens: HashMap::new(),
            next_token: 1,
            tickets: vec![
                ticket(1, 3, "My PWD card has not arrived"),
                ticket(2, 4, "Change of address"),
            ],
            next_message: 1,
            files: VecDeque::new(),
        };
        let first = Form {
            message: "Good morning. I applied three weeks ago, and my card has not arrived yet."
                .to_owned(),
            file: None,
        };
        desk.post(ACCOUNTS[0], 1, first)
            .expect("ticket 1 is Ana's, and the message is not empty");
        desk
    }

    /// Returns the account and a new token, if the password is right.
    pub(super) fn log_in(&mut self, username: &str, password: &str) -> Option<(Account, String)> {
        let account = ACCOUNTS
            .into_iter()
            .find(|account| account.username == username)
            .filter(|_| password == "demo")?;
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(48)
            .collect();
        let token = format!("{}|{secret}", self.next_token);
        self.next_token += 1;
        self.tokens.insert(secret, account);
        Some((account, token))
    }

    /// Removes `token`, so that it identifies no user any more.
    pub(super) fn log_out(&mut self, token: &str) {
        self.tokens.remove(secret_of(token));
    }

    /// Returns the account that a token belongs to.
    pub(super) fn bearer(&self, token: &str) -> Option<Account> {
        self.tokens.get(secret_of(token)).copied()
    }

    /// Returns the tickets that a user may see.
    pub(super) fn list(&self, user: Account) -> Value {
        self.tickets
            .iter()
            .filter(|ticket| ticket.is_visible_to(user))
            .map(Ticket::json)
            .collect()
    }

    /// Returns a ticket.
    ///
    /// # Errors
    /// Returns [`DemoError::NotFound`], or [`DemoError::Forbidden`] if the user may not see
    /// it.
    pub(super) fn show(&self, user: Account, id: u64) -> Result<Value, DemoError> {
        let ticket = self
            .tickets
            .iter()
            .find(|ticket| ticket.id == id)
            .ok_or(DemoError::NotFound)?;
        if ticket.is_visible_to(user) {
            Ok(ticket.json())
        } else {
            Err(DemoError::Forbidden)
        }
    }

    /// Adds a message. Returns it as the real app sends it in responses and broadcasts.
    ///
    /// # Errors
    /// Returns [`DemoError::EmptyMessage`] or [`DemoError::WrongType`] for an invalid message,
    /// and the errors of [`Self::show`].
    pub(super) fn post(&mut self, user: Account, id: u64, form: Form) -> Result<Value, DemoError> {
        let text = form.message.trim();
        if text.is_empty() && form.file.is_none() {
            return Err(DemoError::EmptyMessage);
        }
        let kind = form.file.as_ref().map(Upload::kind);
        if kind == Some(None) {
            return Err(DemoError::WrongType);
        }
        let ticket = find(&mut self.tickets, user, id)?;
        let number = self.next_message;
        self.next_message += 1;
        let now = now();
        let mut message = json!({
            "support_ticket_id": id,
            "message": Some(text).filter(|text| !text.is_empty()),
            "sender_type": if user.is_staff() { "admin" } else { "pwd_member" },
            "sender_id": if user.is_staff() { user.id } else { user.id - 2 },
            "updated_at": now,
            "created_at": now,
            "id": number,
            "sender_name": user.name,
            "is_admin": user.is_staff(),
        });
        if let Some(file) = form.file {
            message["attachment_name"] = json!(file.name);
            message["attachment_type"] = json!(kind.flatten());
            message["attachment_size"] = json!(file.bytes.len());
            self.files.push_back((number, file));
            if self.files.len() > MAX_FILES {
                self.files.pop_front();
            }
        }
        ticket.messages.push(message.clone());
        Ok(message)
    }

    /// Returns a message's attachment. It needs no login, as in the real app.
    pub(super) fn file(&self, message: u64) -> Option<Upload> {
        self.files
            .iter()
            .find(|(number, _)| *number == message)
            .map(|(_, file)| file.clone())
    }

    /// Sets a ticket's status and returns the ticket.
    ///
    /// # Errors
    /// Returns [`DemoError::WrongStatus`] for an unknown status, and the errors of
    /// [`Self::show`].
    pub(super) fn set_status(
        &mut self,
        user: Account,
        id: u64,
        status: &str,
    ) -> Result<Value, DemoError> {
        if !STATUSES.contains(&status) {
            return Err(DemoError::WrongStatus);
        }
        let ticket = find(&mut self.tickets, user, id)?;
        status.clone_into(&mut ticket.status);
        Ok(ticket.json())
    }
}

fn find(tickets: &mut [Ticket], user: Account, id: u64) -> Result<&mut Ticket, DemoError> {
    let ticket = tickets
        .iter_mut()
        .find(|ticket| ticket.id == id)
        .ok_or(DemoError::NotFound)?;
    if ticket.is_visible_to(user) {
        Ok(ticket)
    } else {
        Err(DemoError::Forbidden)
    }
}

impl Ticket {
    fn is_visible_to(&self, user: Account) -> bool {
        user.is_staff() || user.id == self.owner
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "ticket_number": format!("SUP-{:03}", self.id),
            "subject": self.subject,
            "pwd_member_id": self.owner - 2,
            "status": self.status,
            "priority": "medium",
            "messages": self.messages,
        })
    }
}

/// Returns the part of a token that Sanctum compares: all after `id|`.
fn secret_of(token: &str) -> &str {
    token.split_once('|').map_or(token, |(_, secret)| secret)
}

/// Returns the current time as Laravel writes it (RFC 3339).
fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

/// The maximum number of attachments in memory; further ones replace the oldest.
const MAX_FILES: usize = 10;
const STATUSES: [&str; 5] = [
    "open",
    "in_progress",
    "waiting_for_reply",
    "resolved",
    "closed",
];
