//! Users.

use chrono::TimeDelta;
use serde_json::json;

use super::Route;
use crate::client::operation as op;
use crate::client::users::{Me, Org, TokenInfo, User};
use crate::sim::call::Style::Newer;
use crate::sim::call::{Answer, Call, Failure, ok};
use crate::sim::page::sorted_page;
use crate::sim::server::Sim;

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::ME, Newer, Sim::me),
    Route::of(&op::LIST_USERS, Newer, Sim::list_users),
    Route::of(&op::DEACTIVATE_USER, Newer, Sim::deactivate_user),
];

impl Sim {
    fn me(&self, call: &Call<'_>) -> Answer {
        let world = self.world();
        let exp = (world.config.epoch + TimeDelta::days(90)).timestamp() as f64;
        let org = Org { id: world.org_id.clone() };
        let me = if call.token.workspace {
            Me { org, token: Some(TokenInfo { exp: None }), ..Me::default() }
        } else {
            let user = call.acting_user(&world).ok_or_else(Failure::unauthorized)?;
            Me {
                id: Some(user.id.clone()),
                name: user.name.clone(),
                email: Some(user.email.clone()),
                role: Some(user.role.clone()),
                last_login_date: user.last_login_date.clone(),
                org,
                token: Some(TokenInfo { exp: Some(exp) }),
            }
        };
        ok(&me)
    }

    fn list_users(&self, call: &Call<'_>) -> Answer {
        let by_email = call.one_of("sortBy", &["NAME", "EMAIL"])? == Some("EMAIL");
        let descending = call.one_of("sortDirection", &["ASC", "DESC"])? == Some("DESC");
        let only: Option<Vec<&str>> = call.get("userIds").map(|ids| ids.split(',').map(str::trim).collect());
        let world = self.world();
        let users: Vec<&User> = match call.get("groupId") {
            None => world.users.iter().collect(),
            Some(id) => {
                let group = world.groups.iter().position(|g| g.id == id);
                world.group_members(group.ok_or_else(|| Failure::new(404, "Group not found"))?)
            }
        };
        let key = |u: &User| {
            let key = if by_email { u.email.clone() } else { u.name.clone().unwrap_or_default() };
            (key, u.id.to_string())
        };
        let items =
            users.into_iter().filter(|u| only.as_ref().is_none_or(|ids| ids.contains(&u.id.as_str())));
        sorted_page(call, items.map(|u| (key(u), u)).collect(), descending, 500)
    }

    /// A deactivated user is listed no more, and what the user owns stays.
    fn deactivate_user(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("userId");
        let mut world = self.world_mut();
        let at =
            world.users.iter().position(|u| u.id == id).ok_or_else(|| Failure::new(400, "User not found"))?;
        let user = world.remove_user(at);
        Ok((200, Some(json!({ "user": user }))))
    }
}
