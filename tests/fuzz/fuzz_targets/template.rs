//! Jinja templates: any text is rendered or refused within the bounds, and nothing panics.
#![no_main]

use hexport::derive::sql::template::{OUTPUT, RENDERINGS, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let rendered = render(text);
    assert!(rendered.texts.len() <= RENDERINGS);
    assert!(rendered.texts.iter().map(String::len).sum::<usize>() <= OUTPUT.max(text.len() * 16));
});
