//! Who this process is: drawn once when it starts, and never seen again after it.
//!
//! Not the pod's name: a container that is restarted keeps that name, and must not take what its
//! predecessor claimed for its own.

/// The system gives no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system provides no random bytes to name this process")]
pub struct NoRandomness;

/// A new incarnation: 128 random bits as 32 lower-case hexadecimal digits.
///
/// # Errors
/// [`NoRandomness`] where the system's source fails.
pub fn new_incarnation() -> Result<String, NoRandomness> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| NoRandomness)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_is_somebody_else() {
        let (one, other) = (new_incarnation().unwrap(), new_incarnation().unwrap());
        assert_ne!(one, other);
        for incarnation in [one, other] {
            assert_eq!(incarnation.len(), 32);
            let is_digit = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
            assert!(incarnation.chars().all(is_digit), "{incarnation}");
        }
    }
}
