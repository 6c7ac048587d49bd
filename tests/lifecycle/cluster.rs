//! What the cluster takes away from a running operator and gives back, and what it never gives.

mod api_server;
mod chosen_namespaces;
mod permissions;
