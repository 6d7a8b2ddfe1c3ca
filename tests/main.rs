//! The one test binary. Each module's header tells its goal and its method.

mod trail;
