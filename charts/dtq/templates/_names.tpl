{{/* Names and labels. */}}

{{- define "dtq.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 34 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 34 characters, so that `<fullname>-worker-<pool>` fits into a label; a longer name ends in a digest of the whole. */}}
{{- define "dtq.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $base := default .Chart.Name .Values.nameOverride -}}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $base) (contains $base .Release.Name) -}}
{{- end -}}
{{- if gt (len $name) 34 -}}
{{- $name = printf "%s-%s" ($name | trunc 27 | trimSuffix "-") (sha256sum $name | trunc 6) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Labels that select pods. Takes root, component and, for workers, pool. */}}
{{- define "dtq.selector" -}}
app.kubernetes.io/name: {{ include "dtq.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component | quote }}
{{- with .pool }}
dtq.dev/pool: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Labels of a resource. Takes root, component and, for workers, pool. */}}
{{- define "dtq.labels" -}}
{{ include "dtq.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
app.kubernetes.io/part-of: dtq
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | quote }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name of a service's ServiceAccount. Takes root, component and account (values). */}}
{{- define "dtq.account" -}}
{{- if .account.create -}}
{{- default (printf "%s-%s" (include "dtq.fullname" .root) .component) .account.name -}}
{{- else -}}
{{- default "default" .account.name -}}
{{- end -}}
{{- end -}}

{{/* Image of a DTQ service. Takes root, component and image (its own values). */}}
{{- define "dtq.image" -}}
{{- $image := .root.Values.image -}}
{{- $repository := printf "%s-%s" $image.repository .component -}}
{{- if $image.registry -}}{{- $repository = printf "%s/%s" (trimSuffix "/" $image.registry) $repository -}}{{- end -}}
{{- $tag := coalesce .image.tag $image.tag .root.Chart.AppVersion -}}
{{- include "dtq.reference" (dict "repository" (default $repository .image.repository) "tag" $tag "digest" .image.digest) -}}
{{- end -}}

{{/* An image as nodes know it. Takes repository, tag and digest, which goes before the tag. */}}
{{- define "dtq.reference" -}}
{{- if .digest -}}{{- printf "%s@%s" .repository .digest -}}{{- else -}}{{- printf "%s:%s" .repository .tag -}}{{- end -}}
{{- end -}}

{{/* Host of the submitter's Service, from other namespaces too. */}}
{{- define "dtq.apiHost" -}}
{{ include "dtq.fullname" . }}-submitter.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "dtq.apiURL" -}}
http://{{ include "dtq.apiHost" . }}:{{ .Values.submitter.service.port }}
{{- end -}}
