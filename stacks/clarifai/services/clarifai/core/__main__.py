"""`python -m clarifai.core`: the API on port 8000, until SIGTERM."""

import uvicorn
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from clarifai import jsonlog
from clarifai.core import embedder, graph
from clarifai.core.api import create_app
from clarifai.databases import neo4j_access, postgres_conninfo
from clarifai.environment import number, setting


def main() -> None:
    jsonlog.set_up("clarifai-core", setting("LOG_LEVEL", "INFO"))
    pool: ConnectionPool[Connection[DictRow]] = ConnectionPool(
        postgres_conninfo(),
        kwargs={"row_factory": dict_row},
        min_size=2,
        max_size=10,
        timeout=3,
        reconnect_timeout=10,
        open=False,
        check=ConnectionPool.check_connection,  # after Postgres was restarted no caller meets a dead connection
    )
    app = create_app(pool, graph.connect(*neo4j_access()), embedder.from_environment(), setting("CORE_TOKEN"))
    uvicorn.run(
        app,
        host="0.0.0.0",
        port=int(number("PORT", 8000)),
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
