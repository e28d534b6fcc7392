import django.db.models.deletion
import serving_site.jobs.uuid7
from django.conf import settings
from django.db import migrations, models

from serving_site.jobs.triggers import FinalStatus


class Migration(migrations.Migration):

    dependencies = [
        ('mlmodels', '0003_datasetsnapshot'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='TrainingRun',
            fields=[
                ('id', models.UUIDField(default=serving_site.jobs.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                ('status', models.CharField(choices=[('queued', 'queued'), ('running', 'running'), ('succeeded', 'succeeded'), ('failed', 'failed'), ('canceled', 'canceled')], default='queued', max_length=9)),
                ('lane', models.SmallIntegerField(choices=[(0, 'click'), (1, 'API'), (2, 'batch'), (3, 'shadow and replay')], default=0)),
                ('turn', models.BigIntegerField(default=0)),
                ('rows', models.PositiveIntegerField(default=1)),
                ('size', models.BigIntegerField(default=0)),
                ('attempts', models.SmallIntegerField(default=0)),
                ('crashes', models.SmallIntegerField(default=0)),
                ('lost', models.SmallIntegerField(default=0)),
                ('suspect', models.BooleanField(default=False)),
                ('lease_token', models.UUIDField(editable=False, null=True)),
                ('lease_until', models.DateTimeField(editable=False, null=True)),
                ('rung_at', models.DateTimeField(editable=False, null=True)),
                ('reason_code', models.CharField(blank=True, default='', max_length=40)),
                ('request_id', models.CharField(blank=True, default='', editable=False, max_length=64)),
                ('created_at', models.DateTimeField()),
                ('started_at', models.DateTimeField(null=True)),
                ('completed_at', models.DateTimeField(null=True)),
                ('recipe', models.CharField(max_length=40)),
                ('seed', models.BigIntegerField(default=0)),
                ('epochs', models.PositiveIntegerField(null=True)),
                ('promote', models.CharField(choices=[('never', 'never'), ('if-better', 'if it is better'), ('always', 'if the gate lets it pass')], default='never', max_length=9)),
                ('reason', models.TextField(blank=True, default='')),
                ('code_commit', models.CharField(blank=True, default='', max_length=64)),
                ('progress', models.JSONField(default=dict)),
                ('curves', models.JSONField(default=list)),
                ('weights_sha256', models.CharField(blank=True, default='', max_length=64)),
                ('parameters', models.JSONField(default=dict)),
                ('outcome', models.TextField(blank=True, default='')),
                ('log', models.TextField(blank=True, default='')),
                ('error', models.TextField(blank=True, default='')),
                ('model', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='training_runs', to='mlmodels.mlmodel')),
                ('owner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('snapshot', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='training_runs', to='mlmodels.datasetsnapshot')),
                ('version', models.OneToOneField(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='training_run', to='mlmodels.modelversion')),
            ],
        ),
        migrations.AddIndex(
            model_name='trainingrun',
            index=models.Index(condition=models.Q(('status', 'queued')), fields=['lane', 'turn', 'id'], name='training_claim'),
        ),
        migrations.AddIndex(
            model_name='trainingrun',
            index=models.Index(condition=models.Q(('status', 'queued')), fields=['id'], name='training_oldest'),
        ),
        migrations.AddIndex(
            model_name='trainingrun',
            index=models.Index(condition=models.Q(('status', 'queued')), fields=['owner', 'lane', 'turn'], name='training_turn'),
        ),
        migrations.AddIndex(
            model_name='trainingrun',
            index=models.Index(condition=models.Q(('status', 'running')), fields=['lease_until'], name='training_lease'),
        ),
        migrations.AddIndex(
            model_name='trainingrun',
            index=models.Index(condition=models.Q(('status', 'running')), fields=['lease_token'], name='training_token'),
        ),
        migrations.AddIndex(
            model_name='trainingrun',
            index=models.Index(fields=['model', '-id'], name='training_history'),
        ),
        migrations.AddConstraint(
            model_name='trainingrun',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('completed_at__isnull', False), ('status__in', ('succeeded', 'failed', 'canceled'))), models.Q(('completed_at__isnull', True), ('status__in', ['queued', 'running'])), _connector='OR'), name='mlmodels_trainingrun_final_when_completed'),
        ),
        migrations.AddConstraint(
            model_name='trainingrun',
            constraint=models.CheckConstraint(condition=models.Q(('rows__gte', 1)), name='mlmodels_trainingrun_has_rows'),
        ),
        FinalStatus("mlmodels_trainingrun"),
    ]
