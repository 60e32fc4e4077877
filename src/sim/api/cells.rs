//! Cells: read, written, and what they show.

use rand::RngExt;
use serde_json::{Value, json};

use super::Route;
use crate::client::cells::{Cell, Source, SqlSource};
use crate::client::limits;
use crate::client::operation as op;
use crate::sim::call::Style::{Newer, Older};
use crate::sim::call::{Answer, Call, Failure, found, ok, uuid};
use crate::sim::page::cursor_page;
use crate::sim::rng;
use crate::sim::server::Sim;
use crate::sim::world::World;

const RUN_IMAGE: &str = "/projects/{projectId}/runs/{runId}/cells/{staticId}/image";

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::LIST_CELLS, Newer, Sim::list_cells),
    Route::of(&op::GET_CELL, Newer, Sim::get_cell),
    Route::own("CreateCell", "POST", "/cells", &limits::HEX_API, Newer, Sim::create_cell),
    Route::own("UpdateCell", "PATCH", "/cells/{cellId}", &limits::HEX_API, Newer, Sim::update_cell),
    Route::own("DeleteCell", "DELETE", "/cells/{cellId}", &limits::HEX_API, Newer, Sim::delete_cell),
    Route::own("GetCellOutput", "GET", "/cells/{cellId}/output", &limits::HEX_API, Newer, Sim::cell_output),
    Route::own(
        "GetChartImageFromLogic",
        "GET",
        "/cells/{cellId}/image",
        &limits::HEX_CHART_IMAGE,
        Older,
        Sim::chart_of_draft,
    ),
    Route::own("GetChartImageFromRun", "GET", RUN_IMAGE, &limits::HEX_CHART_IMAGE, Newer, Sim::chart_of_run),
];

/// A PNG of one pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

impl Sim {
    fn list_cells(&self, call: &Call<'_>) -> Answer {
        let id = call.get("projectId").ok_or_else(|| call.bad("projectId", "is required"))?;
        let world = self.world();
        let at = call.project(&world, id)?;
        let cells = world.cells(&world.projects[at]);
        let items: Vec<_> = cells
            .iter()
            .enumerate()
            .map(|(i, (cell, _))| ((format!("{i:08}"), cell.static_id.clone()), cell))
            .collect();
        cursor_page(call, items, "values", 25, 100)
    }

    fn get_cell(&self, call: &Call<'_>) -> Answer {
        let cell = seen_cell(call, &self.world()).ok();
        found(cell.map(|(_, cell)| cell).as_ref(), "cell")
    }

    fn create_cell(&self, call: &Call<'_>) -> Answer {
        let body = Value::Object(call.json()?);
        let project = body["projectId"].as_str().ok_or_else(|| Failure::new(400, "projectId is required"))?;
        let kind = body["cellType"].as_str().unwrap_or("");
        let mut world = self.world_mut();
        let at = call.project(&world, project).map_err(|_| Failure::new(400, "Project not found"))?;
        let mut cell = Cell {
            project_id: world.projects[at].project.id.clone(),
            cell_type: kind.to_owned(),
            label: body["label"].as_str().map(str::to_owned),
            ..Cell::default()
        };
        if !["CODE", "SQL", "MARKDOWN"].contains(&kind) {
            return Err(Failure::new(400, "cellType is not one of CODE, SQL, MARKDOWN"));
        }
        write_source(&mut cell, &body["contents"])?;
        let connection = &body["contents"]["sqlCell"]["dataConnectionId"];
        cell.data_connection_id = connection_of(&world, connection)?.map(Into::into);
        let now = self.now();
        (cell.id, cell.static_id) = (world.new_id("cell-version", now).into(), world.new_id("cell", now));
        let after = body["location"]["insertAfterCellId"].as_str().map(str::to_owned);
        world.projects[at].authored.added.push((after, cell.clone()));
        world.touch(at, now);
        ok(&cell)
    }

    fn update_cell(&self, call: &Call<'_>) -> Answer {
        let body = Value::Object(call.json()?);
        let mut world = self.world_mut();
        let (at, mut cell) = seen_cell(call, &world)?;
        if body.get("contents").is_some_and(|contents| contents.as_object().is_some_and(|c| !c.is_empty())) {
            write_source(&mut cell, &body["contents"])?;
        }
        if body.get("dataConnectionId").is_some() {
            cell.data_connection_id = connection_of(&world, &body["dataConnectionId"])?.map(Into::into);
        }
        let now = self.now();
        cell.id = world.new_id("cell-version", now).into();
        let authored = &mut world.projects[at].authored;
        match authored.added.iter_mut().find(|(_, added)| added.static_id == cell.static_id) {
            Some((_, added)) => *added = cell.clone(),
            None => drop(authored.changed.insert(cell.static_id.clone(), cell.clone())),
        }
        world.touch(at, now);
        ok(&cell)
    }

    fn delete_cell(&self, call: &Call<'_>) -> Answer {
        let mut world = self.world_mut();
        let (at, cell) = seen_cell(call, &world)?;
        world.projects[at].authored.removed.insert(cell.static_id);
        let now = self.now();
        world.touch(at, now);
        Ok((200, Some(json!({"cellId": cell.id}))))
    }

    fn cell_output(&self, call: &Call<'_>) -> Answer {
        let world = self.world();
        let (at, cell) = seen_cell(call, &world)?;
        if cell.contents.sql_cell.is_none() {
            return Err(Failure::new(400, "Only SQL cells have an output to read"));
        }
        let record = &world.projects[at];
        let rows: Vec<Value> =
            (0..3).map(|n| json!({"n": n.to_string(), "name": format!("row {n}")})).collect();
        let run = rng::of(world.config.seed, "session", record.index).random::<u128>();
        Ok((
            200,
            Some(json!({
                "projectId": record.project.id,
                "runId": uuid::Builder::from_random_bytes(run.to_be_bytes()).into_uuid().to_string(),
                "cell": {"id": cell.id, "staticId": cell.static_id, "cellType": cell.cell_type},
                "result": {
                    "type": "table",
                    "rowLimit": 100,
                    "rowsReturned": rows.len(),
                    "totalRows": rows.len(),
                    "totalRowsKind": "EXACT",
                    "truncated": false,
                    "columns": [{"name": "n", "type": "NUMBER"}, {"name": "name", "type": "STRING"}],
                    "rows": rows,
                },
            })),
        ))
    }

    fn chart_of_draft(&self, call: &Call<'_>) -> Answer {
        uuid(call, call.arg("cellId"), "cellId")?;
        image_size(call)?;
        let (_, cell) = seen_cell(call, &self.world())?;
        if cell.cell_type != "CHART" {
            return Err(Failure::new(422, "The cell is not a chart"));
        }
        Ok((200, Some(json!({"cellId": cell.id, "imageBase64": PIXEL, "mimeType": "image/png"}))))
    }

    fn chart_of_run(&self, call: &Call<'_>) -> Answer {
        image_size(call)?;
        let (project, run, wanted) = (call.arg("projectId"), call.arg("runId"), call.arg("staticId"));
        let world = self.world();
        let record = &world.projects[call.project(&world, project)?];
        let spec = world.runs(record).iter().find(|spec| world.run_id(record, spec) == run);
        let spec = spec.ok_or_else(|| Failure::new(404, "Run not found"))?;
        let mut cells = world.published_cells(record).into_iter().map(|(cell, _)| cell);
        let cell = cells.find(|cell| cell.static_id == wanted);
        let cell = cell.ok_or_else(|| Failure::new(404, "Cell not found"))?;
        if cell.cell_type != "CHART" || spec.status != "COMPLETED" {
            return Err(Failure::new(400, "Only charts of completed runs have an image"));
        }
        Ok((
            200,
            Some(json!({
                "projectId": record.project.id,
                "runId": run,
                "staticId": cell.static_id,
                "imageBase64": PIXEL,
                "mimeType": "image/png",
            })),
        ))
    }
}

/// The cell that a path names, in a project that the token sees.
fn seen_cell(call: &Call<'_>, world: &World) -> Result<(usize, Cell), Failure> {
    let cell = world.find_cell(call.arg("cellId"));
    let cell = cell.filter(|(at, _)| call.token.sees(&world.projects[*at].project.id));
    cell.ok_or_else(|| Failure::new(404, "Cell not found"))
}

/// Writes a source of the cell's own type.
fn write_source(cell: &mut Cell, contents: &Value) -> Result<(), Failure> {
    let (key, kind) = match cell.cell_type.as_str() {
        "SQL" => ("sqlCell", "SQL"),
        "CODE" => ("codeCell", "code"),
        "MARKDOWN" => ("markdownCell", "markdown"),
        other => return Err(Failure::new(400, format!("A cell of type {other} has no source"))),
    };
    let given = &contents[key];
    let source = given["source"].as_str();
    let source = source
        .ok_or_else(|| Failure::new(400, format!("contents.{key}.source is required of a {kind} cell")))?
        .to_owned();
    match key {
        "sqlCell" => {
            let old = cell.contents.sql_cell.as_ref().map(|sql| sql.output_dataframe.clone());
            let named = given["outputDataframe"].as_str().map(str::to_owned);
            let output_dataframe = named.or(old).unwrap_or_else(|| "dataframe".to_owned());
            cell.contents.sql_cell = Some(SqlSource { source, output_dataframe });
        }
        "codeCell" => cell.contents.code_cell = Some(Source { source }),
        _ => cell.contents.markdown_cell = Some(Source { source }),
    }
    Ok(())
}

fn connection_of(world: &World, id: &Value) -> Result<Option<String>, Failure> {
    let Some(id) = id.as_str() else { return Ok(None) };
    let known = world.connections.iter().any(|connection| connection.id == id);
    known.then(|| Some(id.to_owned())).ok_or_else(|| Failure::new(400, "Data connection not found"))
}

fn image_size(call: &Call<'_>) -> Result<(), Failure> {
    let given = |name: &str| call.get(name).is_some();
    call.number("width", 800, 100, 2000)?;
    call.number("height", 600, 100, 2000)?;
    call.flag("includeTitle")?;
    if given("width") != given("height") {
        return Err(call.bad("width", "goes with height"));
    }
    Ok(())
}
