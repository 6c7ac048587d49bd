//! What the cluster takes away from a running operator and gives back.

mod api_server;
mod permissions;
