//! The sandbox from Bursar's side: every object in every API version, and every call of the gateway.

mod facts;
mod gateway;
mod scene;
mod shape;
