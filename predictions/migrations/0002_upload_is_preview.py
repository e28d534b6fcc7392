from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("predictions", "0001_initial")]

    operations = [
        migrations.AddField("upload", "is_preview", models.BooleanField(default=False)),
    ]
