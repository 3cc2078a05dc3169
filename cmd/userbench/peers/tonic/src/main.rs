//! tonic, as a server that userd is measured beside: in its best form, on one thread.
//!
//!     peer USERS
//!
//! The file USERS has the users to serve, each an encoded `user.v1.User` behind its length.

mod messages;

use std::collections::HashMap;
use std::error::Error;
use std::pin::Pin;

use messages::*;
use mimalloc::MiMalloc;
use prost::Message;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

use generated::user_service_server::{UserService, UserServiceServer};

mod generated {
    include!(concat!(env!("OUT_DIR"), "/user.v1.UserService.rs"));
}

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The users, read only, for as long as the process runs.
struct Users {
    all: &'static [User],
    by_id: HashMap<&'static str, &'static User>,
}

impl Users {
    fn read(path: &str) -> Result<Self, Box<dyn Error>> {
        let file = std::fs::read(path)?;
        let mut rest = file.as_slice();
        let mut users = Vec::new();
        while !rest.is_empty() {
            users.push(User::decode_length_delimited(&mut rest)?);
        }
        let all: &'static [User] = users.leak();
        let by_id = all.iter().map(|user| (user.id.as_str(), user)).collect();
        Ok(Users { all, by_id })
    }

    fn get(&self, id: &str) -> Option<Served> {
        self.by_id.get(id).copied().map(Served)
    }
}

#[tonic::async_trait]
impl UserService for &'static Users {
    type ListUsersStream = Answers<Served>;
    type StreamUserUpdatesStream = Answers<UserUpdateResponse>;

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        Ok(Response::new(GetUserResponse { user: self.get(&request.get_ref().user_id) }))
    }

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Result<Response<Self::ListUsersStream>, Status> {
        let users = self.all.iter().map(|user| Ok(Served(user)));
        Ok(Response::new(Box::pin(tokio_stream::iter(users))))
    }

    async fn batch_create_users(
        &self,
        request: Request<Streaming<CreateUserRequest>>,
    ) -> Result<Response<BatchCreateUsersResponse>, Status> {
        let mut rows = request.into_inner();
        let mut response = BatchCreateUsersResponse::default();
        while let Some(row) = rows.message().await? {
            response.success_count += 1;
            response.created_user_ids.push(row.user_id);
        }
        Ok(Response::new(response))
    }

    async fn stream_user_updates(
        &self,
        request: Request<Streaming<UserUpdate>>,
    ) -> Result<Response<Self::StreamUserUpdatesStream>, Status> {
        let users: &'static Users = self;
        let answers = request.into_inner().map(|update| {
            let updated_user = users.get(&update?.user_id);
            Ok(UserUpdateResponse { success: updated_user.is_some(), updated_user })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: peer USERS")?;
    let users: &'static Users = Box::leak(Box::new(Users::read(&path)?));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(users))
}

async fn serve(users: &'static Users) -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("  service   http://{}", listener.local_addr()?);
    let incoming = TcpIncoming::from_listener(listener, true, None).map_err(|e| e.to_string())?;
    Server::builder().add_service(UserServiceServer::new(users)).serve_with_incoming(incoming).await?;
    Ok(())
}
