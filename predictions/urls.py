"""The pages of a person: what they can use, what they asked, what was answered."""

from django.urls import path

from predictions import views

urlpatterns = [
    path("", views.home, name="home"),
    path("models/<slug:slug>/", views.model, name="model"),
    path("predictions/", views.predictions, name="predictions"),
    path("predictions/<uuid:key>/", views.prediction, name="prediction"),
    path("predictions/<uuid:key>/status/", views.prediction_status, name="prediction_status"),
    path("predictions/<uuid:key>/cancel/", views.prediction_cancel, name="prediction_cancel"),
    path("predictions/<uuid:key>/again/", views.prediction_again, name="prediction_again"),
    path("predictions/<uuid:key>/note/", views.prediction_note, name="prediction_note"),
    path("predictions/<uuid:key>/delete/", views.prediction_delete, name="prediction_delete"),
    path("files/<uuid:key>/", views.file, name="file"),
]
