"""An example of a job type of your own: the README's 'Add a job type' shows this file."""

from pydantic import BaseModel

from dtq.registry import JobContext, JobType, handler


class Greet(BaseModel):
    """The payload: POST /submit checks it before it answers 202."""

    name: str


GREET = JobType("greet", Greet, summary="Greet somebody.", examples=({"name": "Ada"},))


@handler(GREET)
async def greet(payload: Greet, ctx: JobContext) -> dict[str, str]:
    """Greet somebody; what is returned is the job's result, anything that JSON can hold."""
    return {"greeting": f"Hello, {payload.name}!", "job": ctx.id}
