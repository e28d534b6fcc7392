import django.db.models.deletion
import serving_site.jobs.uuid7
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mlmodels', '0002_gate_and_delivery_settings'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='modelversion',
            name='measured',
            field=models.JSONField(default=dict),
        ),
        migrations.CreateModel(
            name='DatasetSnapshot',
            fields=[
                ('id', models.UUIDField(default=serving_site.jobs.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                ('sha256', models.CharField(max_length=64)),
                ('schema', models.JSONField()),
                ('source', models.CharField(max_length=300)),
                ('train_sha256', models.CharField(max_length=64)),
                ('train_rows', models.PositiveIntegerField()),
                ('holdout_sha256', models.CharField(max_length=64)),
                ('holdout_rows', models.PositiveIntegerField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('model', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='snapshots', to='mlmodels.mlmodel')),
            ],
            options={
                'verbose_name': 'dataset snapshot',
                'ordering': ['model', '-id'],
            },
        ),
        migrations.AddField(
            model_name='modelversion',
            name='snapshot',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='mlmodels.datasetsnapshot'),
        ),
        migrations.AddConstraint(
            model_name='datasetsnapshot',
            constraint=models.UniqueConstraint(fields=('model', 'sha256'), name='one_snapshot_per_content'),
        ),
    ]
