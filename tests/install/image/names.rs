//! A name server on this machine, by which every name is this machine's.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

pub(super) struct Names {
    pub(super) address: Ipv4Addr,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Names {
    /// Starts one, at an address that no other test has. It ends with the tests.
    pub(super) fn start() -> Self {
        let bound = (1..=254).find_map(|last| {
            let address = Ipv4Addr::new(127, 53, 53, last);
            Some((address, UdpSocket::bind((address, 53)).ok()?))
        });
        let (address, socket) = bound.expect("port 53: these tests are run by root");
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let names = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut question) {
                let Some((name, answer)) = answer(&question[..length]) else { continue };
                names.lock().expect("nobody panics").insert(name);
                let _ = socket.send_to(&answer, asker);
            }
        });
        Self { address, asked }
    }

    /// The names that were looked up.
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().expect("nobody panics").clone()
    }
}

/// The name that is asked for, and the answer (RFC 1035, section 4): 127.0.0.1, and nothing of other
/// types.
fn answer(question: &[u8]) -> Option<(String, Vec<u8>)> {
    const HEADER: usize = 12;
    const ADDRESS: [u8; 2] = [0, 1];
    let mut labels = Vec::new();
    let mut at = HEADER;
    while let Some(length @ 1..) = question.get(at).map(|length| usize::from(*length)) {
        labels.push(String::from_utf8_lossy(question.get(at + 1..=at + length)?).into_owned());
        at += length + 1;
    }
    let end = at + 5;
    let is_address = question.get(at + 1..at + 3)? == ADDRESS;
    let mut answer = question.get(..2)?.to_vec();
    // An answer without error to one question, with one record or none.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question.get(HEADER..end)?);
    if is_address {
        // The name of the question, an address of the Internet for 60 s, of 4 bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some((labels.join("."), answer))
}
