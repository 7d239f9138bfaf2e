module example

go 1.19

require gateway v0.0.0

replace gateway => ./generated
