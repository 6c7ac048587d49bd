//! The API server in memory that schedules run on, held to the real one.

#[path = "../schedules/api/mod.rs"]
mod api;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::api::{Answer, ApiServer, Kind, Request, User};

fn request(user: User, method: Method, path: &str, body: Option<&Value>) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let content_type =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    Request {
        user,
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        content_type: content_type.to_owned(),
        accept: "application/json".to_owned(),
        body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
    }
}

#[test]
fn a_store_that_is_set_back_forgets_and_gives_no_uid_again() {
    let mut server = ApiServer::new();
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}});
    let path = Kind::Secret.collection("default");
    let create = |server: &mut ApiServer| -> Answer {
        let create = request(User::Person, Method::POST, &path, Some(&secret));
        let answer = server.call(&create, Timestamp::UNIX_EPOCH);
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer
    };
    let all = format!("{path}?watch=true&resourceVersion={}", server.version());
    let mut watch = server.watch(&request(User::Operator, Method::GET, &all, None)).expect("opens");
    let before = server.clone();
    let first = create(&mut server);
    assert_eq!(server.events(&mut watch).len(), 1);
    server = before;
    assert!(server.object(Kind::Secret, "default", "a").is_none());
    let second = create(&mut server);
    assert_eq!(
        first.body["metadata"]["resourceVersion"],
        second.body["metadata"]["resourceVersion"]
    );
    assert_ne!(first.body["metadata"]["uid"], second.body["metadata"]["uid"]);
    assert!(server.events(&mut watch).is_empty(), "it has seen that version");
    let gone = format!("{path}/a");
    let gone = request(User::Person, Method::DELETE, &gone, None);
    assert_eq!(server.call(&gone, Timestamp::UNIX_EPOCH).status, 200);
    let events = server.events(&mut watch);
    assert!(events.len() == 1 && events[0].starts_with(r#"{"type":"DELETED""#), "{events:?}");
}
