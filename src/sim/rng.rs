//! Random numbers that depend on what they are for, not on the order in which they are drawn.

use chrono::{DateTime, Utc};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A generator for one entity: same seed, kind and index, same numbers.
pub fn of(seed: u64, kind: &str, index: u64) -> ChaCha8Rng {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in kind.bytes().chain(index.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    ChaCha8Rng::seed_from_u64(hash ^ (hash >> 29))
}

/// A UUID (version 4 in form) for one entity.
pub fn uuid(seed: u64, kind: &str, index: u64) -> String {
    let bytes: [u8; 16] = of(seed, kind, index).random();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// A UUID (version 7) of something that was made at `at`.
pub fn uuid7(seed: u64, kind: &str, index: u64, at: DateTime<Utc>) -> String {
    let bytes: [u8; 10] = of(seed, kind, index).random();
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid().to_string()
}

/// An index below `n` (0 if `n` is 0), small ones far more often than large ones (Zipf-like, by inversion of `x^-1`).
pub fn skewed(rng: &mut ChaCha8Rng, n: usize) -> usize {
    let u: f64 = rng.random();
    let x = ((n as f64 + 1.0).ln() * u).exp() - 1.0;
    (x as usize).min(n.saturating_sub(1))
}

/// True with probability `p`.
pub fn chance(rng: &mut ChaCha8Rng, p: f64) -> bool {
    rng.random::<f64>() < p
}

/// One of `items`.
pub fn pick<'a, T: ?Sized>(rng: &mut ChaCha8Rng, items: &[&'a T]) -> &'a T {
    items[rng.random_range(0..items.len())]
}
