"""The users of `make load`. https://docs.locust.io/ shows what else they can do."""

from locust import HttpUser, between, task


class Visitor(HttpUser):
    """Someone who waits a moment after each request, as a person or another program does."""

    wait_time = between(0.5, 1.5)  # seconds

    # The example: begin
    def on_start(self) -> None:
        """Create the note that this user will change. Others read it, too."""
        self.note = self.client.post("/notes", json={"title": "first"}).json()["id"]

    # A task with the weight 6 is chosen six times as often as one with 1. `name` puts all notes
    # into one line of the report.
    @task(6)
    def browse(self) -> None:
        """List some notes, and read one of them with its revisions."""
        query = f"limit=20&after={max(self.note - 20, 0)}"
        page = self.client.get(f"/notes?{query}", name="/notes").json()
        note = page["items"][0]["id"]
        self.client.get(f"/notes/{note}", name="/notes/{id}")
        self.client.get(f"/notes/{note}/revisions", name="/notes/{id}/revisions")

    @task(3)
    def write(self) -> None:
        self.client.patch(f"/notes/{self.note}", json={"body": "changed"}, name="/notes/{id}")

    @task(1)
    def synchronize(self) -> None:
        self.client.post(f"/notes/{self.note}/synchronize", name="/notes/{id}/synchronize")

    # The example: end
    @task
    def check_readiness(self) -> None:
        """Add tasks for what your users do. This one needs a connection, too."""
        self.client.get("/health/ready")
