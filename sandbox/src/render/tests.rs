mod moves;
mod properties;
mod samples;
