{{/* Name of everything that belongs to the release: its name, with `stemjob` in it. */}}
{{- define "stemjob.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "stemjob" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-stemjob" (.Release.Name | trunc 32 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "stemjob.jobsNamespace" -}}
{{- .Values.jobs.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "stemjob.apiAccount" -}}
{{- .Values.serviceAccount.name | default (printf "%s-api" (include "stemjob.fullname" .)) -}}
{{- end -}}

{{- define "stemjob.runnerAccount" -}}
{{- .Values.runner.serviceAccount.name | default (printf "%s-runner" (include "stemjob.fullname" .)) -}}
{{- end -}}

{{/* What selects the pods of a component: (list $ "api"). */}}
{{- define "stemjob.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: stemjob
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The labels of an object: (list $ "api"). */}}
{{- define "stemjob.labels" -}}
{{- $root := index . 0 -}}
{{ include "stemjob.selector" . }}
app.kubernetes.io/part-of: stemjob
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image's full name: (list $ .Values.api.image). */}}
{{- define "stemjob.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := ternary (printf "%s/%s" $image.registry $image.repository) $image.repository (ne $image.registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* With the container's: the restricted Pod Security level. */}}
{{- define "stemjob.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "stemjob.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "stemjob.emulatorUrl" -}}
http://{{ include "stemjob.fullname" . }}-bucket.{{ .Release.Namespace }}.svc:4443
{{- end -}}

{{/* Two lists of variables as one, in which each name stands once, as the second says: (list $first $second). */}}
{{- define "stemjob.variables" -}}
{{- $second := index . 1 -}}
{{- $names := list -}}
{{- range $second -}}{{- $names = append $names .name -}}{{- end -}}
{{- $kept := list -}}
{{- range index . 0 -}}{{- if not (has .name $names) -}}{{- $kept = append $kept . -}}{{- end -}}{{- end -}}
{{- concat $kept $second | toYaml -}}
{{- end -}}

{{/* What API, sweep and runners are told alike. */}}
{{- define "stemjob.sharedEnv" -}}
- {name: STEMJOB_MODELS, value: {{ join "," .Values.settings.models | quote }}}
- {name: STEMJOB_MAX_DURATION_SECONDS, value: {{ toJson .Values.settings.maxDurationSeconds | quote }}}
- {name: STEMJOB_LOG_LEVEL, value: {{ .Values.settings.logLevel | quote }}}
{{- if .Values.emulator.enabled }}
- {name: STORAGE_EMULATOR_HOST, value: {{ include "stemjob.emulatorUrl" . | quote }}}
{{- end }}
{{- if .Values.gcsKey.existingSecret }}
- {name: GOOGLE_APPLICATION_CREDENTIALS, value: {{ printf "/etc/stemjob/gcs/%s" .Values.gcsKey.key | quote }}}
{{- end }}
{{- end -}}

{{/* What API and sweep are told; the chart's part of it. */}}
{{- define "stemjob.apiSettings" -}}
- {name: HOME, value: /tmp}
- {name: HOST, value: "0.0.0.0"}
- {name: PORT, value: "8000"}
- {name: STEMJOB_STORE, value: {{ printf "gs://%s/%s" .Values.bucket .Values.prefix | quote }}}
- {name: STEMJOB_LAUNCHER, value: kubernetes}
- {name: STEMJOB_NAMESPACE, value: {{ include "stemjob.jobsNamespace" . | quote }}}
- {name: STEMJOB_JOB_TEMPLATE, value: /etc/stemjob/template/runner-job.yaml}
- {name: STEMJOB_SWEEP_SECONDS, value: "0"} # the CronJob sweeps
- {name: STEMJOB_MODEL, value: {{ .Values.settings.model | quote }}}
- {name: STEMJOB_MAX_FILE_SIZE_MB, value: {{ toJson .Values.settings.maxFileSizeMb | quote }}}
{{- with .Values.settings.retentionDays }}
- {name: STEMJOB_RETENTION_DAYS, value: {{ toJson . | quote }}}
{{- end }}
{{- if .Values.metrics.enabled }}
- {name: STEMJOB_METRICS_PORT, value: {{ toJson .Values.metrics.port | quote }}}
{{- end }}
{{- with .Values.webhooks }}
{{- if .existingSecret }}
- name: STEMJOB_WEBHOOK_SECRET
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{ include "stemjob.sharedEnv" . }}
{{- end -}}

{{- define "stemjob.apiEnv" -}}
{{- include "stemjob.variables" (list (include "stemjob.apiSettings" . | fromYamlArray) .Values.api.env) -}}
{{- end -}}

{{- define "stemjob.apiMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: template, mountPath: /etc/stemjob/template, readOnly: true}
- {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- if .Values.gcsKey.existingSecret }}
- {name: gcs-key, mountPath: /etc/stemjob/gcs, readOnly: true}
{{- end }}
{{- with .Values.api.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "stemjob.apiVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
- name: template
  configMap: {name: {{ include "stemjob.fullname" . }}-runner-job}
- name: token # bound to this very pod
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- if .Values.gcsKey.existingSecret }}
- name: gcs-key
  secret: {secretName: {{ .Values.gcsKey.existingSecret }}}
{{- end }}
{{- with .Values.api.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Combinations that the schema cannot see. */}}
{{- define "stemjob.check" -}}
{{- if not (has .Values.settings.model .Values.settings.models) -}}
{{- fail (printf "settings.model is %q, which is not in settings.models." .Values.settings.model) -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) -}}
{{- fail "metrics.serviceMonitor.enabled needs metrics.enabled: there would be nothing to look at." -}}
{{- end -}}
{{- if and .Values.emulator.enabled (not .Values.bucket) -}}
{{- fail "emulator.enabled needs bucket: the emulator makes the bucket of that name." -}}
{{- end -}}
{{- if and .Values.emulator.enabled .Values.gcsKey.existingSecret -}}
{{- fail "emulator.enabled and gcsKey.existingSecret exclude each other: the emulator asks for no key." -}}
{{- end -}}
{{- end -}}
