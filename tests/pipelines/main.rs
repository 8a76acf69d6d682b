// SPDX-License-Identifier: MPL-2.0
//! The plugin in real pipelines, against the offline service on a real socket.

mod common;

mod captions;
mod client_vad;
mod counters;
mod documents;
mod endings;
mod errors;
mod events;
mod examples;
mod fleet;
mod frames;
mod ingest;
mod launch;
mod live;
mod manual;
mod matrix;
mod models;
mod network;
mod opus;
mod outages;
mod pedant;
mod protocols;
mod rates;
mod recipes;
mod sink;
mod sources;
mod stable;
mod stopping;
mod streams;
mod talk;
mod timing;
mod translation;
