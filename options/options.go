// Package options turns a map of named values into a value of a struct type.
//
// It is a leaf without state. A map must not change while GenerateFromModel reads
// it.
package options

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Generic holds options of any type by their name.
type Generic map[string]interface{}

// NewGeneric returns an empty Generic.
func NewGeneric() Generic {
	return Generic{}
}

// GenerateFromModel makes a new value of the type of model, which is a struct or a
// pointer to one, and sets the field named by each key of options to its value.
// Fields without an option are zero, whatever they are in model. The result is a
// pointer if model is one.
//
// It fails with NoSuchFieldError, CannotSetFieldError or TypeMismatchError; values
// are not converted, so the dynamic type of each must be its field's type.
func GenerateFromModel(options Generic, model interface{}) (interface{}, error) {
	modelType := reflect.TypeOf(model)
	structType := modelType
	if structType != nil && structType.Kind() == reflect.Pointer {
		structType = structType.Elem()
	}
	if structType == nil || structType.Kind() != reflect.Struct {
		return nil, TypeMismatchError{Field: "model", ExpectType: "struct", ActualType: typeName(modelType)}
	}

	result := reflect.New(structType)
	// In order of the names, so that of several errors always the same is returned.
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if err := setField(result.Elem(), name, options[name]); err != nil {
			return nil, err
		}
	}
	if modelType.Kind() == reflect.Pointer {
		return result.Interface(), nil
	}
	return result.Elem().Interface(), nil
}

func setField(target reflect.Value, name string, value interface{}) error {
	structType := target.Type()
	desc, ok := structType.FieldByName(name)
	if !ok {
		return NoSuchFieldError{Field: name, Type: structType.String()}
	}
	// The field may be promoted from an embedded pointer, which is nil here.
	field, err := target.FieldByIndexErr(desc.Index)
	if err != nil || !field.CanSet() {
		return CannotSetFieldError{Field: name, Type: structType.String()}
	}
	actual := reflect.TypeOf(value)
	if actual != desc.Type {
		return TypeMismatchError{Field: name, ExpectType: desc.Type.String(), ActualType: typeName(actual)}
	}
	field.Set(reflect.ValueOf(value))
	return nil
}

func typeName(t reflect.Type) string {
	if t == nil {
		return "nil"
	}
	return t.String()
}

// NoSuchFieldError is the error for an option that no field is named after. Its
// class is BadRequest.
type NoSuchFieldError struct {
	// Field is the name of the option, Type that of the struct.
	Field string
	Type  string
}

// Error says which option it was.
func (e NoSuchFieldError) Error() string {
	return fmt.Sprintf("option %q: no such field in %s", e.Field, e.Type)
}

// BadRequest makes it a types.BadRequestError.
func (NoSuchFieldError) BadRequest() {}

// CannotSetFieldError is the error for an option whose field is not exported. Its
// class is BadRequest.
type CannotSetFieldError struct {
	// Field is the name of the option, Type that of the struct.
	Field string
	Type  string
}

// Error says which option it was.
func (e CannotSetFieldError) Error() string {
	return fmt.Sprintf("option %q: field of %s cannot be set", e.Field, e.Type)
}

// BadRequest makes it a types.BadRequestError.
func (CannotSetFieldError) BadRequest() {}

// TypeMismatchError is the error for an option whose value is not of the type of
// the field. Its class is BadRequest.
type TypeMismatchError struct {
	// Field is the name of the option, ExpectType the type of the field, and
	// ActualType that of the value, "nil" if it has none.
	Field      string
	ExpectType string
	ActualType string
}

// Error says which option it was and both types.
func (e TypeMismatchError) Error() string {
	return fmt.Sprintf("option %q: want %s, not %s", e.Field, e.ExpectType, e.ActualType)
}

// BadRequest makes it a types.BadRequestError.
func (TypeMismatchError) BadRequest() {}
