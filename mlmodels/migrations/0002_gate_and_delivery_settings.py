from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mlmodels', '0001_initial'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='modelversion',
            options={'ordering': ['model', '-number'], 'permissions': [('upload_executable', 'Can upload artifacts that run code when loaded')], 'verbose_name': 'version'},
        ),
        migrations.AlterModelOptions(
            name='release',
            options={'ordering': ['model', '-number'], 'permissions': [('override_gate', 'Can release what the gate refuses')]},
        ),
        migrations.AddField(
            model_name='mlmodel',
            name='gate',
            field=models.JSONField(blank=True, default=dict, help_text="Thresholds that differ from the site's own."),
        ),
        migrations.AddField(
            model_name='mlmodel',
            name='on_push',
            field=models.CharField(choices=[('release', 'it goes live'), ('candidate', 'it waits for an operator')], default='release', help_text='What happens to a pushed version that passes the gate.', max_length=9, verbose_name='after a push'),
        ),
        migrations.AddField(
            model_name='mlmodel',
            name='recipe',
            field=models.CharField(blank=True, default='', editable=False, max_length=40),
        ),
    ]
