//! Lakes as reading commands meet them.

use std::io::Write;

/// Tells people of something that doesn't stop the command. Standard output is for the result alone.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}
