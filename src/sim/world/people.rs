//! Users, groups and collections.

use rand::RngExt;

use super::{THEMES, World, WorldConfig, iso};
use crate::client::collections::{Collection, CollectionSharing, Creator, IdGrant, MembersAccess};
use crate::client::groups::Group;
use crate::client::users::User;
use crate::sim::rng::{self, chance, pick, skewed};
use chrono::{DateTime, TimeDelta, Utc};
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
        // Everyone may have left.
        let user = self.users.get(skewed(r, self.users.len()));
        user.map_or_else(|| "nobody@acme.example".to_owned(), |user| user.email.clone())
    }

    /// A group's members, sorted by name as the API does.
    pub fn group_members(&self, group: usize) -> Vec<&User> {
        self.members[group].iter().map(|i| &self.users[*i]).collect()
    }

    /// Adds a user.
    pub fn create_user(&mut self, now: DateTime<Utc>, email: String, role: &str) -> usize {
        let id = self.new_id("user", now).into();
        self.users.push(User {
            id,
            name: None,
            email,
            role: role.to_owned(),
            last_login_date: Some(iso(now)),
        });
        self.users.len() - 1
    }

    /// Deactivates a user: listed no more, a member of no group, while what the user owns stays.
    pub fn remove_user(&mut self, at: usize) -> User {
        let user = self.users.remove(at);
        for members in &mut self.members {
            members.retain(|member| *member != at);
            members.iter_mut().filter(|member| **member > at).for_each(|member| *member -= 1);
        }
        user
    }

    /// Adds a group with these members (places of users).
    pub fn create_group(&mut self, now: DateTime<Utc>, name: String, members: Vec<usize>) -> usize {
        let id = self.new_id("group", now).into();
        self.groups.push(Group { id, name, created_at: iso(now) });
        self.members.push(members);
        self.groups.len() - 1
    }

    /// Deletes a group, and what was granted to it.
    pub fn remove_group(&mut self, at: usize) -> Group {
        self.members.remove(at);
        let group = self.groups.remove(at);
        for sharing in self.projects.iter_mut().filter_map(|record| record.project.sharing.as_mut()) {
            sharing.groups.retain(|grant| grant.group.name != group.name);
        }
        group
    }

    /// Renames a group, where it is granted access as well.
    pub fn rename_group(&mut self, at: usize, name: &str) {
        let old = std::mem::replace(&mut self.groups[at].name, name.to_owned());
        let grants = self.projects.iter_mut().filter_map(|record| record.project.sharing.as_mut());
        for grant in grants.flat_map(|sharing| &mut sharing.groups).filter(|grant| grant.group.name == old) {
            grant.group.name = name.to_owned();
        }
    }

    /// Adds a user to a group, or takes a member out of it.
    pub fn toggle_member(&mut self, group: usize, user: usize) {
        let members = &mut self.members[group];
        match members.iter().position(|member| *member == user) {
            Some(at) => drop(members.remove(at)),
            None => members.push(user),
        }
    }

    /// Adds an empty collection.
    pub fn create_collection(&mut self, now: DateTime<Utc>, name: String) -> usize {
        let id = self.new_id("collection", now).into();
        self.collections.push(Collection { id, name, ..Collection::default() });
        self.collections.len() - 1
    }

    /// Deletes a collection; its projects stay.
    pub fn remove_collection(&mut self, at: usize) -> Collection {
        let collection = self.collections.remove(at);
        for record in &mut self.projects {
            record.collections.retain(|place| *place != at);
            record.collections.iter_mut().filter(|place| **place > at).for_each(|place| *place -= 1);
            if let Some(sharing) = &mut record.project.sharing {
                sharing.collections.retain(|grant| grant.collection.name != collection.name);
            }
        }
        collection
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
                id: rng::uuid(config.seed, "user", i as u64).into(),
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
            Group { id: rng::uuid(config.seed, "group", i as u64).into(), name, created_at: iso(created) }
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
                id: rng::uuid(config.seed, "collection", i as u64).into(),
                name: format!("{} {}", pick(r, &THEMES), i + 1),
                description: chance(r, 0.5).then(|| "Kept tidy, mostly.".to_owned()),
                creator: chance(r, 0.95)
                    .then(|| Creator { email: creator.email.clone(), id: creator.id.clone() }),
                sharing: CollectionSharing {
                    users: Some(vec![IdGrant { access: "MANAGER".into(), id: member.id.to_string() }]),
                    groups: chance(r, 0.5).then(|| {
                        vec![IdGrant {
                            access: "MEMBER".into(),
                            id: groups[skewed(r, groups.len())].id.to_string(),
                        }]
                    }),
                    workspace: chance(r, 0.6)
                        .then(|| MembersAccess { members: Some(pick(r, &["NONE", "MEMBER"]).into()) }),
                },
            }
        })
        .collect()
}
