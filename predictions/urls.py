"""The pages of a person: what they can use, what they asked, what was answered."""

from django.urls import path

from predictions import prediction_views, views

urlpatterns = [
    path("", views.home, name="home"),
    path("models/<slug:slug>/", views.model, name="model"),
    path("predictions/", views.predictions, name="predictions"),
    path("predictions/<uuid:key>/", prediction_views.prediction, name="prediction"),
    path("predictions/<uuid:key>/status/", prediction_views.prediction_status, name="prediction_status"),
    path("predictions/<uuid:key>/cancel/", prediction_views.prediction_cancel, name="prediction_cancel"),
    path("predictions/<uuid:key>/again/", prediction_views.prediction_again, name="prediction_again"),
    path("predictions/<uuid:key>/note/", prediction_views.prediction_note, name="prediction_note"),
    path("predictions/<uuid:key>/delete/", prediction_views.prediction_delete, name="prediction_delete"),
    path("files/<uuid:key>/", prediction_views.file, name="file"),
]
