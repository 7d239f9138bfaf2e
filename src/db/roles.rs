//! Two roles: the owner of the tables, as which `migrate` runs, and the service's, which may do what
//! [`super::privileges`] says.

use sqlx::Connection as _;

use super::{Db, error::Error, privileges, run::Statement as _};

/// What a role may do besides what was granted to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolePrivileges {
    /// It is the owner of the tables, may become it, or is a superuser: no grant restricts it.
    pub owns: bool,
    /// It may make schemas, tables or temporary tables.
    pub creates: bool,
}

impl Db {
    /// How the role stands in this database; `None` where there is no such role.
    pub async fn standing(&self, role: &str) -> Result<Option<RolePrivileges>, Error> {
        let standing = sqlx::query_as!(
            RolePrivileges,
            r#"select
                exists (
                    select from pg_class
                    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
                        and pg_has_role(role.oid, relowner, 'member')
                ) as "owns!",
                (has_schema_privilege(role.oid, 'public', 'create')
                    or has_database_privilege(role.oid, current_database(), 'create')
                    or has_database_privilege(role.oid, current_database(), 'temporary')
                ) as "creates!"
            from pg_roles role
            where role.rolname = $1::text"#,
            role,
        )
        .optional(&self.reads)
        .await?;
        Ok(standing)
    }

    /// Gives the role exactly what [`privileges::TABLES`] says, all at once: no statement of a service
    /// that runs meanwhile is refused. Needs the owner of the tables; run again it changes nothing.
    pub async fn grant_to_service(&self, role: &str) -> Result<(), Error> {
        // Several statements in one message are one transaction.
        let grants = sqlx::AssertSqlSafe(privileges::grants(role));
        let mut connection = self.connection_for_the_schema().await?;
        sqlx::raw_sql(grants).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}
