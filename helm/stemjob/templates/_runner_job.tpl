{{/*
The Job template: files/runner-job.yaml with the values put in. The file is a whole Job and usable as it is;
what a value says replaces what the file says, lists of volumes, mounts and variables are joined.
*/}}
{{- define "stemjob.runnerJob" -}}
{{- $runner := .Values.runner -}}
{{- $job := .Files.Get "files/runner-job.yaml" | fromYaml -}}
{{- $pod := $job.spec.template.spec -}}
{{- $container := first $pod.containers -}}

{{- $labels := mergeOverwrite (dict) .Values.commonLabels $runner.labels -}}
{{- with $runner.queue -}}{{- $_ := set $labels "kueue.x-k8s.io/queue-name" . -}}{{- end -}}
{{- $metadata := dict -}}
{{- with $labels -}}{{- $_ := set $metadata "labels" . -}}{{- end -}}
{{- with $runner.annotations -}}{{- $_ := set $metadata "annotations" . -}}{{- end -}}
{{- with $metadata -}}{{- $_ := set $job "metadata" . -}}{{- end -}}
{{- range tuple "backoffLimit" "activeDeadlineSeconds" "ttlSecondsAfterFinished" -}}
{{- $_ := set $job.spec . (get $runner .) -}}
{{- end -}}

{{- $_ := mergeOverwrite $job.spec.template.metadata.annotations $runner.podAnnotations -}}
{{- $_ := set $pod "serviceAccountName" (include "stemjob.runnerAccount" .) -}}
{{- $_ := set $pod "tolerations" $runner.tolerations -}}
{{- range $field := tuple "nodeSelector" "affinity" "priorityClassName" "runtimeClassName" -}}
{{- with get $runner $field -}}{{- $_ := set $pod $field . -}}{{- end -}}
{{- end -}}
{{- with .Values.imagePullSecrets -}}{{- $_ := set $pod "imagePullSecrets" . -}}{{- end -}}

{{- $_ := set $container "image" (include "stemjob.image" (list . $runner.image)) -}}
{{- $_ := set $container "imagePullPolicy" $runner.image.pullPolicy -}}
{{- $resources := deepCopy $runner.resources -}}
{{- if $runner.gpu.enabled -}}
{{- $gpu := dict $runner.gpu.resource (toJson $runner.gpu.count) -}}
{{- $_ := set $resources "limits" (mergeOverwrite ($resources.limits | default dict) $gpu) -}}
{{- end -}}
{{- $_ := set $container "resources" $resources -}}

{{- $volumes := $pod.volumes -}}
{{- $mounts := $container.volumeMounts -}}
{{- range $volumes -}}
{{- if eq .name "scratch" -}}{{- $_ := set .emptyDir "sizeLimit" $runner.scratchSize -}}{{- end -}}
{{- end -}}
{{- with .Values.gcsKey.existingSecret -}}
{{- $volumes = append $volumes (dict "name" "gcs-key" "secret" (dict "secretName" .)) -}}
{{- $mounts = append $mounts (dict "name" "gcs-key" "mountPath" "/etc/stemjob/gcs" "readOnly" true) -}}
{{- end -}}
{{- $_ := set $pod "volumes" (concat $volumes $runner.volumes) -}}
{{- $_ := set $container "volumeMounts" (concat $mounts $runner.volumeMounts) -}}

{{- $told := include "stemjob.variables" (list $container.env (include "stemjob.sharedEnv" . | fromYamlArray)) -}}
{{- $_ := set $container "env" (include "stemjob.variables" (list ($told | fromYamlArray) $runner.env) | fromYamlArray) -}}
{{- with $runner.envFrom -}}{{- $_ := set $container "envFrom" . -}}{{- end -}}

{{- mergeOverwrite $job (deepCopy $runner.template) | toYaml -}}
{{- end -}}
