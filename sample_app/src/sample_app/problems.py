"""What anybody gets who can't have what they asked for: the status and a reason, as JSON or as a page."""

from flask import Blueprint, current_app, json, render_template, request
from sqlalchemy.exc import DBAPIError, TimeoutError
from werkzeug.exceptions import HTTPException, ServiceUnavailable

bp = Blueprint("problems", __name__)


@bp.app_errorhandler(HTTPException)
def problem(error):
    response = error.get_response()  # with the headers that belong to the status, such as Allow
    if request.path.startswith(("/api/", "/healthz", "/readyz")):
        response.content_type = "application/json"
        response.data = json.dumps({"error": error.description})
    else:
        response.data = render_template("problem.html", problem=error)
    return response


@bp.app_errorhandler(DBAPIError)
@bp.app_errorhandler(TimeoutError)
def database_problem(error):
    """Anything the database's driver raises. What it says is for the log: it names users, paths and tables."""
    current_app.logger.error("The database failed: %s", getattr(error, "orig", error))
    return problem(
        ServiceUnavailable("The database can't answer. Try again in a moment; the app's log says why.", retry_after=5)
    )
