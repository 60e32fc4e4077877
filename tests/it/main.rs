//! Drives the real `hexport` binary over real HTTP against the simulator, and reads what it wrote with real
//! DuckDB.

mod support;

mod access;
mod audit;
mod bad_input;
mod clients;
mod commands;
mod contract;
mod crawl;
mod datahub;
mod diff;
mod drift;
mod engines;
mod examples;
mod export;
mod foreign;
mod handoff;
mod impact;
mod limits;
mod lineage;
mod mcp;
mod mutator;
mod nights;
mod notify;
mod openlineage;
mod operate;
mod operations;
mod places;
mod report;
mod sample;
mod simulator;
mod snapshots;
mod stores;
mod terminal;
mod truth;
