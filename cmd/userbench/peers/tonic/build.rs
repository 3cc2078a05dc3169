//! Generates the service without protoc, which would need the schema's imports.

use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

fn method(name: &str, route: &str, request: &str, response: &str) -> MethodBuilder {
    Method::builder()
        .name(name)
        .route_name(route)
        .input_type(format!("crate::messages::{request}"))
        .output_type(format!("crate::messages::{response}"))
        .codec_path("tonic::codec::ProstCodec")
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let service = Service::builder()
        .package("user.v1")
        .name("UserService")
        .method(method("get_user", "GetUser", "GetUserRequest", "GetUserResponse").build())
        .method(
            method("list_users", "ListUsers", "ListUsersRequest", "Served")
                .server_streaming()
                .build(),
        )
        .method(
            method("batch_create_users", "BatchCreateUsers", "CreateUserRequest", "BatchCreateUsersResponse")
                .client_streaming()
                .build(),
        )
        .method(
            method("stream_user_updates", "StreamUserUpdates", "UserUpdate", "UserUpdateResponse")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .build();
    Builder::new().build_client(false).compile(&[service]);
}
