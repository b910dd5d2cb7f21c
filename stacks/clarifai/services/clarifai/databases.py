"""Where Postgres and Neo4j are, for everyone who connects. No driver is imported here."""

from clarifai.environment import setting


def postgres_conninfo() -> str:
    """libpq's keywords; a value is quoted, so a password may hold anything."""
    parts = {
        "host": setting("POSTGRES_HOST", "postgres"),
        "port": setting("POSTGRES_PORT", "5432"),
        "dbname": setting("POSTGRES_DB", "clarifai"),
        "user": setting("POSTGRES_USER", "clarifai"),
        "password": setting("POSTGRES_PASSWORD"),
        "connect_timeout": "3",
    }
    return " ".join(f"{key}='{escaped(value)}'" for key, value in parts.items())


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def neo4j_access() -> tuple[str, str, str]:
    """Address, user, password. NEO4J_AUTH is the official image's variable: `neo4j/<password>`."""
    user, _, password = setting("NEO4J_AUTH").partition("/")
    return setting("NEO4J_URI", "bolt://neo4j:7687"), user, password
