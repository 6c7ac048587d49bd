//! All threads that work are busy for long.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::lease::lease;
use crate::world::Test;

#[tokio::test]
async fn probes_are_answered_and_the_lease_is_renewed_while_all_workers_are_busy() {
    let test = Test::new("busy").await;
    let usual = ("CHANCERY_LEASE_DURATION", "15s");
    let workers = ("TOKIO_WORKER_THREADS", "1");
    let operator = test.spawn(&[usual, workers, ("CHANCERY_BUSY_AT", "after-read-target")]);
    operator.wait_until_it_acts();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    let holder = lease(&test).await.and_then(|lease| lease.holder_identity);
    test.create((0..8).map(|at| test.request(&format!("r{at}")))).await;
    // The one that there is.
    operator.wait_until_it_says("busy point reached");
    let begun = Instant::now();
    // Longer than the holder of a lease has without a renewal.
    while begun.elapsed() < Duration::from_secs(22) {
        let asked = Instant::now();
        assert_eq!(operator.get("/livez").map(|(status, _)| status), Some(200));
        assert_eq!(operator.acts(), Some(true), "{}", operator.process.log());
        assert!(asked.elapsed() < Duration::from_secs(1), "kubelet waits no longer");
        let seen = lease(&test).await.expect("the lease");
        assert_eq!(seen.holder_identity, holder);
        let renewed = seen.renew_time.expect("a time").0;
        let age = Timestamp::now().duration_since(renewed);
        assert!(age.as_secs() < 8, "renewed {age} ago:\n{}", operator.process.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    test.until_all_ready(&operator, 8).await;
}
