//! The stand-in's data: a few users, their tokens, one desk of tickets.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::form::{Form, Upload};

/// Who may log in, with the password `demo`.
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

    /// As the real app answers `/api/user`.
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

/// Everything that the stand-in remembers.
#[derive(Debug)]
pub(super) struct Desk {
    tokens: HashMap<String, Account>,
    next_token: u64,
    tickets: Vec<Ticket>,
    next_message: u64,
    /// The last attachments, by message.
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

/// Why the stand-in says no, in the real app's words.
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
    /// One ticket of Ana's and one of Ben's.
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
        let hello = "Good morning. I applied three weeks ago, and my card has not arrived yet.";
        let hello = Form {
            message: hello.to_owned(),
            file: None,
        };
        desk.post(ACCOUNTS[0], 1, hello)
            .expect("Ana may write to her ticket");
        desk
    }

    /// A token for a user who knows the password.
    pub(super) fn log_in(&mut self, username: &str, password: &str) -> Option<(Account, String)> {
        let account = ACCOUNTS
            .into_iter()
            .find(|account| account.username == username);
        let account = account.filter(|_| password == "demo")?;
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(48)
            .collect();
        let token = format!("{}|{secret}", self.next_token);
        self.next_token += 1;
        self.tokens.insert(secret, account);
        Some((account, token))
    }

    pub(super) fn log_out(&mut self, token: &str) {
        self.tokens.remove(secret_of(token));
    }

    pub(super) fn bearer(&self, token: &str) -> Option<Account> {
        self.tokens.get(secret_of(token)).copied()
    }

    /// The tickets that a user may see.
    pub(super) fn list(&self, user: Account) -> Value {
        let seen = self.tickets.iter().filter(|ticket| ticket.open_to(user));
        seen.map(Ticket::json).collect()
    }

    pub(super) fn show(&self, user: Account, id: u64) -> Result<Value, DemoError> {
        let ticket = self.tickets.iter().find(|ticket| ticket.id == id);
        let ticket = ticket.ok_or(DemoError::NotFound)?;
        if ticket.open_to(user) {
            Ok(ticket.json())
        } else {
            Err(DemoError::Forbidden)
        }
    }

    /// Adds a message; returns it as the real app answers it and broadcasts it.
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
            if self.files.len() > KEPT_FILES {
                self.files.pop_front();
            }
        }
        ticket.messages.push(message.clone());
        Ok(message)
    }

    /// A message's attachment: open to all who know the number, as in the real app.
    pub(super) fn file(&self, message: u64) -> Option<Upload> {
        let mut files = self.files.iter();
        let found = files.find(|(number, _)| *number == message);
        found.map(|(_, file)| file.clone())
    }

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
    let ticket = tickets.iter_mut().find(|ticket| ticket.id == id);
    let ticket = ticket.ok_or(DemoError::NotFound)?;
    if ticket.open_to(user) {
        Ok(ticket)
    } else {
        Err(DemoError::Forbidden)
    }
}

impl Ticket {
    fn open_to(&self, user: Account) -> bool {
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

/// What Sanctum compares of a token: all but the `id|` before it.
fn secret_of(token: &str) -> &str {
    token.split_once('|').map_or(token, |(_, secret)| secret)
}

/// Now, as Laravel writes it (RFC 3339).
fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

/// More are forgotten, the oldest first: they are in memory.
const KEPT_FILES: usize = 10;
const STATUSES: [&str; 5] = [
    "open",
    "in_progress",
    "waiting_for_reply",
    "resolved",
    "closed",
];
