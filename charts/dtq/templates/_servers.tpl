{{/* What Valkey and PostgreSQL have in common. */}}

{{/* Whether the volume outlives the StatefulSet. Takes the server's values. */}}
{{- define "dtq.server.retention" -}}
{{- if .persistence.enabled -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: {{ ternary "Retain" "Delete" .persistence.keep }}
  whenScaled: Retain
{{- end }}
{{- end -}}

{{/* Takes root, component and service. Labels are those that never change: claims of a StatefulSet cannot be changed. */}}
{{- define "dtq.server.claims" -}}
{{- if .service.persistence.enabled -}}
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: data
      labels:
        {{- include "dtq.selector" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .service.persistence.storageClass }}
      storageClassName: {{ . | quote }}
      {{- end }}
      resources:
        requests:
          storage: {{ .service.persistence.size | quote }}
{{- end }}
{{- end -}}
