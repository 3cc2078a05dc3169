//! The messages of user.v1 that the peer takes and answers, as proto/user/v1 declares them.

use bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

#[derive(Clone, PartialEq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct User {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub email: String,
    #[prost(string, tag = "3")]
    pub display_name: String,
    #[prost(message, optional, tag = "4")]
    pub created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "5")]
    pub last_login: Option<Timestamp>,
    #[prost(string, repeated, tag = "6")]
    pub roles: Vec<String>,
    #[prost(int64, tag = "7")]
    pub version: i64,
    #[prost(message, optional, tag = "8")]
    pub updated_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetUserRequest {
    #[prost(string, tag = "1")]
    pub user_id: String,
    #[prost(int64, tag = "2")]
    pub min_version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetUserResponse {
    #[prost(message, optional, tag = "1")]
    pub user: Option<Served>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListUsersRequest {
    #[prost(int32, tag = "1")]
    pub page_size: i32,
    #[prost(string, tag = "2")]
    pub page_token: String,
    #[prost(bool, tag = "3")]
    pub all: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreateUserRequest {
    #[prost(string, tag = "1")]
    pub email: String,
    #[prost(string, tag = "2")]
    pub display_name: String,
    #[prost(string, repeated, tag = "3")]
    pub roles: Vec<String>,
    #[prost(string, tag = "4")]
    pub user_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct BatchCreateUsersResponse {
    #[prost(int32, tag = "1")]
    pub success_count: i32,
    #[prost(string, repeated, tag = "2")]
    pub created_user_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct UserUpdate {
    #[prost(string, tag = "1")]
    pub user_id: String,
    #[prost(string, optional, tag = "2")]
    pub display_name: Option<String>,
    #[prost(string, repeated, tag = "3")]
    pub add_roles: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub remove_roles: Vec<String>,
    #[prost(int64, optional, tag = "5")]
    pub expected_version: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct UserUpdateResponse {
    #[prost(bool, tag = "1")]
    pub success: bool,
    #[prost(message, optional, tag = "3")]
    pub updated_user: Option<Served>,
}

/// A user in an answer. It is encoded like [`User`], and points to the one in memory: the peers
/// in Go copy no user for an answer either.
#[derive(Clone, Debug, PartialEq)]
pub struct Served(pub &'static User);

static NOBODY: User = User {
    id: String::new(),
    email: String::new(),
    display_name: String::new(),
    created_at: None,
    last_login: None,
    roles: Vec::new(),
    version: 0,
    updated_at: None,
};

impl Default for Served {
    fn default() -> Self {
        Served(&NOBODY)
    }
}

impl Message for Served {
    fn encode_raw<B: BufMut>(&self, buf: &mut B) {
        self.0.encode_raw(buf)
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    fn merge_field<B: Buf>(&mut self, _: u32, _: WireType, _: &mut B, _: DecodeContext) -> Result<(), DecodeError> {
        Err(DecodeError::new("a served user is only encoded"))
    }

    fn clear(&mut self) {
        *self = Served::default();
    }
}
