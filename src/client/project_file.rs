//! The file that `ExportProject` gives: YAML, of which hexport reads what cells import.

use serde_json::{Value, json};

use super::operation::EXPORT_PROJECT;
use super::projects::Version;
use super::{ApiRequest, ProjectId};

/// Type of the cells that stand for an imported component.
pub const COMPONENT_IMPORT: &str = "COMPONENT_IMPORT";

/// The request for a version of a project as a file.
pub fn export_request(project_id: &ProjectId, version: Version) -> ApiRequest {
    ApiRequest::new(&EXPORT_PROJECT, &[]).body(json!({ "projectId": project_id, "version": version.json() }))
}

/// The cells that import a component, as the file of an answer `{filename, content}` has them, wherever they are
/// nested. The list of cells doesn't say which component a cell imports (hex-api.md): only the file does.
///
/// # Errors
/// Says what is wrong with an answer whose cells can't be read: that there are none isn't known then.
///
/// ```
/// use hexport::client::project_file::imports;
/// use serde_json::json;
///
/// let content = "cells:\n- cellId: c1\n  cellType: COMPONENT_IMPORT\n  config: {component: {id: k, version: 2}}\n";
/// let cells = imports(&json!({"filename": "a.yaml", "content": content})).unwrap();
/// assert_eq!(cells[0]["config"]["component"]["id"], "k");
/// assert!(imports(&json!({"content": "cells: {"})).is_err());
/// ```
pub fn imports(answer: &Value) -> Result<Vec<Value>, String> {
    let content = answer.get("content").and_then(Value::as_str).ok_or("the file has no content")?;
    if nesting(content) > DEEPEST {
        return Err(format!("the file opens more than {DEEPEST} brackets that it doesn't close"));
    }
    let mut file: Value =
        serde_yaml_ng::from_str(content).map_err(|e| format!("the file is not YAML: {e}"))?;
    let Some(Value::Array(cells)) = file.get_mut("cells").map(Value::take) else {
        return Err("the file has no list of cells".into());
    };
    let (mut found, mut left) = (Vec::new(), cells);
    while let Some(mut cell) = left.pop() {
        if let Some(Value::Array(inner)) = cell.pointer_mut("/config/cells").map(Value::take) {
            left.extend(inner);
        }
        let is_import = cell.get("cellType").is_some_and(|kind| kind == COMPONENT_IMPORT);
        if is_import || cell.pointer("/config/component/id").is_some() {
            if let (true, Some(members)) = (is_import, cell.as_object_mut()) {
                members.remove("cellType");
            }
            found.push(cell);
        }
    }
    Ok(found)
}

/// Brackets that may be open at once. The parser gives up at 128, yet only after it has looked at all of them
/// again for each further one: minutes for a file of 100,000.
const DEEPEST: usize = 5_000;

/// The most brackets that are open at any place of a text, those in its strings and comments counted with the rest.
fn nesting(content: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in content.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => continue,
        }
        most = most.max(open);
    }
    most
}

/// Whether an item of `ListCells` imports a component.
pub fn is_import(item: &str) -> bool {
    // Most items don't hold the word: only those that do are worth parsing.
    item.contains(COMPONENT_IMPORT)
        && serde_json::from_str::<Value>(item)
            .is_ok_and(|cell| cell.get("cellType").is_some_and(|kind| kind == COMPONENT_IMPORT))
}

/// Number of cells in an answer's body that import a component.
///
/// # Errors
/// Says what is wrong with an answer whose cells can't be read.
pub fn count_imports(body: &[u8]) -> Result<u64, String> {
    let answer = serde_json::from_slice(body).map_err(|e| format!("the answer is not JSON: {e}"))?;
    Ok(imports(&answer)?.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_however_they_are_nested_and_whatever_stands_beside_them() {
        let import = |id: &str| json!({"cellId": id, "cellType": COMPONENT_IMPORT, "config": {"component": {"id": "k"}}});
        let mut nested = json!({"cellType": "COLLAPSIBLE", "config": {"cells": [import("deep")]}});
        for _ in 0..20 {
            nested = json!({"cellType": "COLLAPSIBLE", "config": {"cells": [nested]}});
        }
        for (what, cells, expected) in [
            ("nested", json!([nested, import("top")]), vec!["deep", "top"]),
            ("odd cells", json!([5, null, "x", {"cellType": 7}, {"config": []}, import("a")]), vec!["a"]),
            (
                "a type that isn't known",
                json!([{"cellId": "b", "cellType": "NEW", "config": {"component": {"id": 1}}}]),
                vec!["b"],
            ),
            ("none", json!([]), vec![]),
        ] {
            let content = serde_yaml_ng::to_string(&json!({"cells": cells})).unwrap();
            let mut ids: Vec<String> = imports(&json!({"content": content}))
                .unwrap()
                .iter()
                .map(|cell| cell["cellId"].as_str().unwrap().to_owned())
                .collect();
            ids.sort();
            assert_eq!(ids, expected, "{what}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_said_and_is_not_empty() {
        for answer in [
            json!({}),
            json!({"content": 5}),
            json!({"content": "- just\n- a list"}),
            json!({"content": "cells: {a: b}"}),
            json!({"content": "cells: [unclosed"}),
            json!({"content": "\u{0}\u{1}"}),
            json!({"content": format!("cells: {}", "[".repeat(4_000))}),
            json!({"content": format!("cells: {}", "[".repeat(1_000_000))}),
            json!({"content": format!("cells: {}", "{a: ".repeat(1_000_000))}),
        ] {
            assert!(imports(&answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_file_of_aliases_that_multiply_takes_no_memory() {
        let mut content = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let alias = format!("*a{}", i - 1);
            content += &format!("a{i}: &a{i} [{}]\n", vec![alias; 10].join(", "));
        }
        assert!(imports(&json!({"content": content + "cells: *a11\n"})).is_err());
    }
}
