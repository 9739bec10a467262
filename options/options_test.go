package options

import (
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/types"
)

type base struct{ Promoted int }

type model struct {
	*base
	Name   string
	MTU    uint16
	Labels map[string]string
	Any    interface{}
	hidden int
}

func TestGenerateFromModel(t *testing.T) {
	t.Run("OPG-1 a new option map is empty and not nil", func(t *testing.T) {
		if g := NewGeneric(); g == nil || len(g) != 0 {
			t.Errorf("NewGeneric = %#v", g)
		}
	})

	want := model{Name: "br0", MTU: 1400, Labels: map[string]string{"a": "b"}}
	opts := Generic{"Name": "br0", "MTU": uint16(1400), "Labels": map[string]string{"a": "b"}}
	equal := cmp.AllowUnexported(model{})
	for _, tt := range []struct {
		name        string
		opts        Generic
		model, want interface{}
	}{
		{"OPG-2 a pointer model gives a pointer to a new value of its type with the options", opts, &model{Name: "not copied", hidden: 3}, &want},
		{"OPG-2 a model's own values are not copied", opts, model{Name: "not copied"}, want},
		{"OPG-2 a nil pointer of a type is model enough", opts, (*model)(nil), &want},
		{"OPG-2 no options give the zero value", nil, &model{Name: "not copied"}, &model{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := GenerateFromModel(tt.opts, tt.model)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, equal); diff != "" {
				t.Errorf("GenerateFromModel (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerateFromModelRefuses(t *testing.T) {
	const typ = "options.model"
	for _, tt := range []struct {
		name  string
		opts  Generic
		model interface{}
		want  error
	}{
		{"OPG-3 an option that is no field is a NoSuchFieldError", Generic{"Nope": 1}, &model{}, NoSuchFieldError{Field: "Nope", Type: typ}},
		{"OPG-3 the case of an option's name counts", Generic{"name": "x"}, model{}, NoSuchFieldError{Field: "name", Type: typ}},
		{"OPG-3 an option for an unexported field is a CannotSetFieldError", Generic{"hidden": 1}, &model{}, CannotSetFieldError{Field: "hidden", Type: typ}},
		{"OPG-3 an option for a field behind a nil pointer is a CannotSetFieldError", Generic{"Promoted": 1}, &model{}, CannotSetFieldError{Field: "Promoted", Type: typ}},
		{"OPG-3 a value of another type is a TypeMismatchError, even if it could be converted", Generic{"MTU": 1400}, &model{}, TypeMismatchError{Field: "MTU", ExpectType: "uint16", ActualType: "int"}},
		{"OPG-3 a field of interface type takes values of that type alone", Generic{"Any": 1}, &model{}, TypeMismatchError{Field: "Any", ExpectType: "interface {}", ActualType: "int"}},
		{"OPG-3 nil is a TypeMismatchError", Generic{"Labels": nil}, &model{}, TypeMismatchError{Field: "Labels", ExpectType: "map[string]string", ActualType: "nil"}},
		{"first of several by name", Generic{"MTU": nil, "Name": nil, "Any": nil}, &model{}, TypeMismatchError{Field: "Any", ExpectType: "interface {}", ActualType: "nil"}},
		{"no struct", Generic{}, 5, TypeMismatchError{Field: "model", ExpectType: "struct", ActualType: "int"}},
		{"no model", Generic{}, nil, TypeMismatchError{Field: "model", ExpectType: "struct", ActualType: "nil"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := GenerateFromModel(tt.opts, tt.model)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %#v, want %#v", err, tt.want)
			}
			if got != nil {
				t.Errorf("with an error comes %#v", got)
			}
			if _, ok := err.(types.BadRequestError); !ok {
				t.Errorf("error %T is no BadRequestError", err)
			}
			if err.Error() == "" {
				t.Error("the error says nothing")
			}
		})
	}
}

// Whatever options there are, the result has them, or one of the errors names the
// option that cannot be.
func FuzzGenerateFromModel(f *testing.F) {
	f.Add("Name", "x", int64(3), byte(0))
	f.Add("MTU", "x", int64(1400), byte(1))
	f.Add("hidden", "x", int64(1), byte(2))
	f.Add("Promoted", "", int64(1), byte(3))
	f.Add("\x00", "", int64(0), byte(4))
	f.Fuzz(func(t *testing.T, field, text string, number int64, kind byte) {
		values := []interface{}{text, uint16(number), int(number), number, nil, map[string]string{text: text}, Generic{text: number}, []string{text}, &text}
		value := values[int(kind)%len(values)]
		for _, m := range []interface{}{model{}, &model{}, (*model)(nil)} {
			got, err := GenerateFromModel(Generic{field: value}, m)
			var (
				none     NoSuchFieldError
				fixed    CannotSetFieldError
				mismatch TypeMismatchError
				about    string
			)
			switch {
			case err == nil:
				about = field
				v := reflect.Indirect(reflect.ValueOf(got)).FieldByName(field)
				if !reflect.DeepEqual(v.Interface(), value) {
					t.Fatalf("field %s is %v, want %v", field, v, value)
				}
			case errors.As(err, &none):
				about = none.Field
			case errors.As(err, &fixed):
				about = fixed.Field
			case errors.As(err, &mismatch):
				about = mismatch.Field
			}
			if about != field {
				t.Fatalf("error %T %v is not about %q", err, err, field)
			}
		}
	})
}
