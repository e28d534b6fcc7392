import django.db.models.deletion
import serving_site.jobs.uuid7
from django.conf import settings
from django.db import migrations, models

from serving_site.jobs.triggers import FinalStatus


class Migration(migrations.Migration):

    dependencies = [
        ('mlmodels', '0004_trainingrun'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Evaluation',
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
                ('purpose', models.CharField(choices=[('evaluate', 'evaluation'), ('gate', 'gate'), ('replay', 'replay')], max_length=8)),
                ('options', models.JSONField(default=dict)),
                ('report', models.JSONField(default=dict)),
                ('passed', models.BooleanField(null=True)),
                ('error', models.TextField(blank=True, default='')),
                ('against', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='mlmodels.modelversion')),
                ('owner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('snapshot', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='mlmodels.datasetsnapshot')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='evaluations', to='mlmodels.modelversion')),
            ],
        ),
        migrations.AddIndex(
            model_name='evaluation',
            index=models.Index(condition=models.Q(('status', 'queued')), fields=['lane', 'turn', 'id'], name='evaluation_claim'),
        ),
        migrations.AddIndex(
            model_name='evaluation',
            index=models.Index(condition=models.Q(('status', 'queued')), fields=['id'], name='evaluation_oldest'),
        ),
        migrations.AddIndex(
            model_name='evaluation',
            index=models.Index(condition=models.Q(('status', 'queued')), fields=['owner', 'lane', 'turn'], name='evaluation_turn'),
        ),
        migrations.AddIndex(
            model_name='evaluation',
            index=models.Index(condition=models.Q(('status', 'running')), fields=['lease_until'], name='evaluation_lease'),
        ),
        migrations.AddIndex(
            model_name='evaluation',
            index=models.Index(condition=models.Q(('status', 'running')), fields=['lease_token'], name='evaluation_token'),
        ),
        migrations.AddIndex(
            model_name='evaluation',
            index=models.Index(fields=['version', '-id'], name='evaluation_history'),
        ),
        migrations.AddConstraint(
            model_name='evaluation',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('completed_at__isnull', False), ('status__in', ('succeeded', 'failed', 'canceled'))), models.Q(('completed_at__isnull', True), ('status__in', ['queued', 'running'])), _connector='OR'), name='mlmodels_evaluation_final_when_completed'),
        ),
        migrations.AddConstraint(
            model_name='evaluation',
            constraint=models.CheckConstraint(condition=models.Q(('rows__gte', 1)), name='mlmodels_evaluation_has_rows'),
        ),
        FinalStatus("mlmodels_evaluation"),
    ]
