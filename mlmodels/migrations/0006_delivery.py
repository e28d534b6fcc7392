import django.db.models.deletion
import serving_site.jobs.uuid7
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mlmodels', '0005_evaluation'),
    ]

    operations = [
        migrations.CreateModel(
            name='Delivery',
            fields=[
                ('id', models.UUIDField(default=serving_site.jobs.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                ('commit', models.CharField(max_length=64, unique=True)),
                ('pushed_by', models.CharField(blank=True, default='', max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('landed_at', models.DateTimeField(null=True)),
                ('done_at', models.DateTimeField(null=True)),
                ('outcome', models.TextField(blank=True, default='')),
                ('release', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='mlmodels.release')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='mlmodels.modelversion')),
                ('evaluation', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='mlmodels.evaluation')),
            ],
            options={
                'verbose_name_plural': 'deliveries',
                'ordering': ['-id'],
            },
        ),
    ]
