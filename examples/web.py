"""A web application that submits tasks whose code it does not have. Not numbered: it needs `pip install fastapi uvicorn`.

    reconciler dev --app examples/01_first_action.py      # terminal 1: the workers, which have the code
    . .reconciler/dev/env                                 # terminal 2
    uvicorn --app-dir examples web:app

No thread waits for anything: thousands of requests may hang on runs at once.
"""

from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse

from reconciler import AsyncClient, Run
from reconciler.api.errors import ActionEnded, ActionNotFound, InvalidInput, Unavailable

app = FastAPI()


@cache
def client() -> AsyncClient:
    """The client of this process, from the variables RECONCILER_..."""
    return AsyncClient.from_settings()


@app.post("/thumbnails", status_code=202)
async def submit(
    key: str, width: int = 320, idempotency_key: Annotated[str, Header()] = ""
) -> dict[str, str]:
    """Store the submission. A request that is repeated with its `Idempotency-Key` gives the same run."""
    thumbnail = await client().task("photos.thumbnail")
    run = await thumbnail.aio.submit((key,), {"width": width}, idempotency_key=idempotency_key)
    return {"run": run.id.run}


@app.get("/runs/{name}")
async def look(name: str, wait: float = 0) -> dict[str, object]:
    """Where a run is, and its result; with `wait` once it has ended, or after so many seconds."""
    run = await client().run(name)
    try:
        return {"phase": "succeeded", "result": await run.aio.result(timeout=min(wait, 60))}
    except TimeoutError:
        return {"phase": str(await run.aio.phase())}
    except ActionEnded as error:
        return {"phase": str(await run.aio.phase()), "error": error.message}


@app.get("/runs/{name}/events")
async def follow(name: str, last_event_id: Annotated[int, Header()] = 0) -> StreamingResponse:
    """The events of a run as they come, for an `EventSource`: one that was cut off goes on where it was."""
    run = await client().run(name)  # here, so that a run that never was is a 404
    return StreamingResponse(server_sent(run, last_event_id), media_type="text/event-stream")


async def server_sent(run: Run[object], after: int) -> AsyncIterator[str]:
    """Each event as the browser wants it."""
    async for event in run.watch(after=after):
        yield f"id: {event.sequence}\nevent: phase\ndata: {event.phase}\n\n"


@app.delete("/runs/{name}", status_code=202)
async def abort(name: str) -> None:
    """Ask the run to stop. A client that only goes away stops nothing."""
    run = await client().run(name)
    await run.aio.abort("asked for by a web page")


@app.exception_handler(ActionNotFound)
@app.exception_handler(InvalidInput)
@app.exception_handler(Unavailable)
async def explain(_: Request, error: Exception) -> JSONResponse:
    """Each error is a sentence that names the remedy."""
    status = {ActionNotFound: 404, Unavailable: 503}
    found = next((code for kind, code in status.items() if isinstance(error, kind)), 422)
    return JSONResponse({"error": str(error)}, found)
