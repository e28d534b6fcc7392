"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path

from serving_site import files, health
from serving_site.accounts import views as accounts
from serving_site.metrics import views as monitoring

urlpatterns = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", monitoring.metrics, name="metrics"),
    path("internal/files/<slug:area>/<slug:name>", files.internal_file, name="internal_file"),
    path("accounts/", include("serving_site.accounts.urls")),
    path("admin/login/", accounts.admin_login),
    path("admin/", admin.site.urls),
    path("", include("predictions.urls")),
]

handler400 = "serving_site.errors.bad_request"
handler403 = "serving_site.errors.forbidden"
handler404 = "serving_site.errors.not_found"
handler500 = "serving_site.errors.server_error"
