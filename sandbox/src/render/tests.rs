mod changes;
mod properties;
mod samples;
