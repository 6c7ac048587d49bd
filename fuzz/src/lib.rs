//! What every target shares: an input may cost so much and no more.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[path = "../../tests/foreign/bodies.rs"]
pub mod bodies;

/// So long the thread may work on one input.
const LONGEST: Duration = Duration::from_millis(100);
/// So many bytes more may be held at once because of it.
const MOST: usize = 64 * 1024 * 1024;

/// Runs `body` and fails where it took more than an input may cost.
pub fn within_bounds(data: &[u8], body: bodies::Body) {
    let held = HELD.load(Ordering::Relaxed);
    PEAK.store(held, Ordering::Relaxed);
    let begun = worked();
    body(data);
    let took = worked().saturating_sub(begun);
    let more = PEAK.load(Ordering::Relaxed).saturating_sub(held);
    // What is made once, such as keys, is not what the input costs.
    static WARM: AtomicUsize = AtomicUsize::new(0);
    if WARM.fetch_add(1, Ordering::Relaxed) > 0 {
        assert!(took <= LONGEST, "an input of {} bytes took {took:?}", data.len());
        assert!(more <= MOST, "an input of {} bytes took {more} bytes", data.len());
    }
}

/// For how long this thread has worked: other programs may have the processor in between.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
struct Counted;

#[global_allocator]
static COUNTED: Counted = Counted;

// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}
