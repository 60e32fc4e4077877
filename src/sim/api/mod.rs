//! The API's operations: one file per resource, with its routes and handlers.

mod cells;
mod collections;
mod connections;
mod embedding;
mod groups;
mod guides;
mod projects;
mod runs;
mod semantic;
mod sharing;
mod threads;
mod users;

use std::collections::BTreeMap;

use axum::http::Method;

use super::call::{Answer, Call, Style};
use super::server::Sim;
use crate::client::Operation;
use crate::client::limits::LimitGroup;

type Handler = fn(&Sim, &Call<'_>) -> Answer;

/// An operation of the simulated API: where it is, how it refuses, and what answers it.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `operationId` of the published description.
    pub operation: &'static str,
    /// Method.
    pub method: &'static str,
    /// Path below `/api/v1`, with `{name}` placeholders.
    pub path: &'static str,
    /// Older paths of the same operation.
    pub aliases: &'static [&'static str],
    /// Operations that are counted together with it.
    pub group: &'static LimitGroup,
    pub(super) style: Style,
    /// Status for parameters that don't fit: 422 where the description has it, else 400.
    pub(super) invalid: u16,
    pub(super) handler: Handler,
}

impl Route {
    const fn of(op: &Operation, style: Style, handler: Handler) -> Self {
        Self::own(op.id, op.method.as_str(), op.path, op.group, style, handler)
    }

    /// A route of an operation that the client leaves out.
    const fn own(
        operation: &'static str,
        method: &'static str,
        path: &'static str,
        group: &'static LimitGroup,
        style: Style,
        handler: Handler,
    ) -> Self {
        Self { operation, method, path, aliases: &[], group, style, invalid: 400, handler }
    }

    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn invalid(self, status: u16) -> Self {
        Self { invalid: status, ..self }
    }

    /// The values of the path's placeholders, if `segments` are such a path.
    fn fits(&self, segments: &[String]) -> Option<BTreeMap<&'static str, String>> {
        std::iter::once(&self.path).chain(self.aliases).find_map(|path| Self::values(path, segments))
    }

    fn values(path: &'static str, segments: &[String]) -> Option<BTreeMap<&'static str, String>> {
        let mut parts = path.split('/').skip(1);
        let mut args = BTreeMap::new();
        for segment in segments {
            let part = parts.next()?;
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => {
                    args.insert(name, segment.clone());
                }
                None if part == segment => {}
                None => return None,
            }
        }
        parts.next().is_none().then_some(args)
    }
}

/// Every route of the simulated API.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    let resources: [&'static [Route]; 12] = [
        projects::ROUTES,
        sharing::ROUTES,
        runs::ROUTES,
        cells::ROUTES,
        users::ROUTES,
        groups::ROUTES,
        collections::ROUTES,
        connections::ROUTES,
        threads::ROUTES,
        guides::ROUTES,
        semantic::ROUTES,
        embedding::ROUTES,
    ];
    resources.into_iter().flatten()
}

/// The route of a method and path, and the values of its placeholders.
pub(super) fn find(
    method: &Method,
    segments: &[String],
) -> Option<(&'static Route, BTreeMap<&'static str, String>)> {
    // A HEAD is answered like a GET; the server leaves the body out.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let fitting = routes()
        .filter(|route| route.method == method)
        .filter_map(|route| Some((route, route.fits(segments)?)));
    // `/users/me` fits `/users/{id}` too: the one with fewer placeholders is meant.
    fitting.min_by_key(|(_, args)| args.len())
}
