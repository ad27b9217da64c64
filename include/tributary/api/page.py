"""The page in Airflow's UI: static files. Its script asks the REST API (`/tributary/api`).

Paths are relative to where the plugin mounts it.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from tributary.api import permissions, problems
from tributary.api.in_airflow import login_of

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "theme.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'",
}

router = APIRouter(prefix="/page")


@router.get("/")
async def index(request: Request) -> Response:
    """The page itself, without any figure in it; who is not logged in is sent to the login."""
    if login := await login_of(request):
        return RedirectResponse(login, 307)
    return FileResponse(_STATIC / "page.html", headers=_HEADERS)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Style, script and icon: the same for everybody, and public."""
    if name not in _FILES:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(_STATIC / name, media_type=_FILES[name], headers=_HEADERS)


# Without the documentation paths, which nothing would protect.
app = FastAPI(title="Tributary", docs_url=None, redoc_url=None, openapi_url=None)
problems.install(app)
app.include_router(router)
permissions.check(app)
