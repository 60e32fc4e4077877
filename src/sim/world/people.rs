//! Users, groups and collections.

use rand::RngExt;

use super::{THEMES, World, WorldConfig, iso};
use crate::client::collections::{Collection, CollectionSharing, Creator, IdGrant, MembersAccess};
use crate::client::groups::Group;
use crate::client::users::User;
use crate::sim::rng::{self, chance, pick, skewed};
use chrono::TimeDelta;
use rand_chacha::ChaCha8Rng;

const FIRST: [&str; 24] = [
    "Ada", "Grace", "Linus", "Margaret", "Zoë", "Søren", "Mikołaj", "Aiko", "Chidi", "Fatima", "Igor",
    "Jürgen", "Kavya", "Lucía", "Ming", "Noor", "Olu", "Priya", "Quentin", "Renée", "Sven", "Tariq", "Uma",
    "Yuki",
];
const LAST: [&str; 20] = [
    "Lovelace",
    "Hopper",
    "Okafor",
    "Hamilton",
    "Brontë",
    "Kierkegaard",
    "Nowak",
    "Tanaka",
    "Anagonye",
    "Haddad",
    "Petrov",
    "Müller",
    "Rao",
    "García",
    "Chen",
    "Khan",
    "Adeyemi",
    "Patel",
    "Dubois",
    "Lindqvist",
];

impl World {
    pub(super) fn user_email(&self, r: &mut ChaCha8Rng, gone: &[String], left: f64) -> String {
        if !gone.is_empty() && chance(r, left) {
            return gone[r.random_range(0..gone.len())].clone();
        }
        self.users[skewed(r, self.users.len())].email.clone()
    }

    /// A group's members, sorted by name as the API does.
    pub fn group_members(&self, group: usize) -> Vec<&User> {
        self.members[group].iter().map(|i| &self.users[*i]).collect()
    }
}

pub(super) fn users(config: &WorldConfig, count: usize) -> Vec<User> {
    let mut users: Vec<User> = (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "user", i as u64);
            let (first, last) = (pick(r, &FIRST), pick(r, &LAST));
            let ascii =
                |s: &str| s.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
            let role = match i {
                0 => "ADMIN",
                _ => pick(
                    r,
                    &[
                        "EDITOR", "EDITOR", "EDITOR", "EXPLORER", "EXPLORER", "MEMBER", "MANAGER", "GUEST",
                        "ADMIN",
                    ],
                ),
            };
            let idle = (r.random::<f64>().powi(3) * 600_000.0) as i64;
            User {
                id: rng::uuid(config.seed, "user", i as u64),
                name: chance(r, 0.97).then(|| format!("{first} {last}")),
                email: format!("{}.{}{i}@acme.example", ascii(first), ascii(last)),
                role: role.to_owned(),
                last_login_date: chance(r, 0.93).then(|| iso(config.epoch - TimeDelta::minutes(idle))),
            }
        })
        .collect();
    users[0].name = Some("Robin Admin".into());
    users
}

pub(super) fn groups(config: &WorldConfig, users: usize, count: usize) -> (Vec<Group>, Vec<Vec<usize>>) {
    let teams = ["Finance", "Marketing", "Data", "Engineering", "Support", "Sales", "People", "Executives"];
    let groups = (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "group", i as u64);
            let name = match teams.get(i) {
                Some(team) => (*team).to_owned(),
                None => format!("{} {}", teams[i % teams.len()], i / teams.len()),
            };
            let created = config.epoch - TimeDelta::minutes(r.random_range(1000..900_000));
            Group { id: rng::uuid(config.seed, "group", i as u64), name, created_at: iso(created) }
        })
        .collect();
    let members = (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "members", i as u64);
            let share = match i {
                3 => 0.0,
                0..=2 => 0.6,
                _ => 0.02 + 0.2 * r.random::<f64>(),
            };
            (0..users).filter(|_| chance(r, share)).collect()
        })
        .collect();
    (groups, members)
}

pub(super) fn collections(
    config: &WorldConfig,
    users: &[User],
    groups: &[Group],
    count: usize,
) -> Vec<Collection> {
    (0..count)
        .map(|i| {
            let r = &mut rng::of(config.seed, "collection", i as u64);
            let creator = &users[skewed(r, users.len())];
            let member = &users[skewed(r, users.len())];
            Collection {
                id: rng::uuid(config.seed, "collection", i as u64),
                name: format!("{} {}", pick(r, &THEMES), i + 1),
                description: chance(r, 0.5).then(|| "Kept tidy, mostly.".to_owned()),
                creator: chance(r, 0.95)
                    .then(|| Creator { email: creator.email.clone(), id: creator.id.clone() }),
                sharing: CollectionSharing {
                    users: Some(vec![IdGrant { access: "MANAGER".into(), id: member.id.clone() }]),
                    groups: chance(r, 0.5).then(|| {
                        vec![IdGrant {
                            access: "MEMBER".into(),
                            id: groups[skewed(r, groups.len())].id.clone(),
                        }]
                    }),
                    workspace: chance(r, 0.6)
                        .then(|| MembersAccess { members: Some(pick(r, &["NONE", "MEMBER"]).into()) }),
                },
            }
        })
        .collect()
}
