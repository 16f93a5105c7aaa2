"""The SQL that the baselines on asyncpg send, written by hand."""

COLUMNS = "id, title, body, version, created_at, updated_at, synchronized_at"
GET = f"SELECT {COLUMNS} FROM notes WHERE id = $1"
PAGE = f"SELECT {COLUMNS} FROM notes WHERE id > $1 ORDER BY id LIMIT $2"
CREATE = f"INSERT INTO notes (title, body) VALUES ($1, $2) RETURNING {COLUMNS}"
CHANGE = f"""
    UPDATE notes SET title = coalesce($2, title), body = coalesce($3, body),
    version = version + 1, updated_at = now() WHERE id = $1 RETURNING {COLUMNS}
"""
SYNCHRONIZE = f"""
    UPDATE notes SET title = $3, body = $4, version = version + 1, updated_at = now(),
    synchronized_at = now() WHERE id = $1 AND version = $2 RETURNING {COLUMNS}
"""
REVISION = "INSERT INTO note_revisions (note_id, version, title, body) VALUES ($1, $2, $3, $4)"
